package sandbox

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// inner becomes the program: in its folder, with its arguments, once it is sure that there is
// such a program. Descriptor 3 tells the kubelet.
const inner = `w=$1; shift
mkdir -p "$w" 2>/dev/null
cd "$w" 2>/dev/null || { echo "chdir to cwd (\"$w\") set in config.json failed: no such file or directory" >&3; exit 128; }
command -v -- "$1" >/dev/null 2>&1 || { echo "exec: \"$1\": executable file not found in \$PATH" >&3; exit 128; }
trap '' PIPE; echo ok >&3; exec 3>&-; trap - PIPE
exec "$@"`

// script is the shell text that becomes a container. The shell that reads it stays outside of the
// container's process namespace: it is the supervisor. Its first child is the container's first
// process.
func (c *container) script(dir string, plain bool) (string, error) {
	args, err := c.args()
	if err != nil {
		return "", err
	}
	root := filepath.Join(dir, "root")
	work := c.spec.WorkingDir
	if work == "" {
		work = "/"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "read -r line </proc/$$/stat; echo \"$line\" >%s\n(\n", quote(filepath.Join(dir, "super")))
	b.WriteString("fail() { echo \"$1\" >&3; exit 128; }\n")
	start := "exec /bin/sh -c "
	if plain {
		for i := range args {
			args[i] = c.translate(args[i])
		}
		if work = c.translate(work); work == "/" {
			work = root
		}
	} else {
		fmt.Fprintf(&b, "m() { e=$(%s \"$@\" 2>&1) || fail \"mount $*: $e\"; }\n", mountTool())
		fmt.Fprintf(&b, "hostname %s 2>/dev/null || echo %s >/proc/sys/kernel/hostname\n", quote(c.p.hostname()), quote(c.p.hostname()))
		lines, err := plan(root, c.mounts())
		if err != nil {
			return "", err
		}
		b.WriteString(strings.Join(lines, "\n") + "\n")
		start = "exec " + chrootTool() + " " + quote(root) + " /bin/sh -c "
	}
	b.WriteString(start + quote(inner) + " sh " + quote(work))
	for _, a := range args {
		b.WriteString(" " + quote(a))
	}
	fmt.Fprintf(&b, "\n) </dev/null >>%s 2>&1\necho $? >%s\n", quote(filepath.Join(dir, "log")), quote(filepath.Join(dir, "exit")))
	return b.String(), nil
}

func (p *pod) hostname() string {
	switch {
	case p.spec.Spec.HostNetwork:
		return p.host.Name
	case p.spec.Spec.Hostname != "":
		return p.spec.Spec.Hostname
	}
	return strings.TrimRight(p.spec.Name[:min(len(p.spec.Name), 63)], "-.")
}

// args is the command with its arguments, and $(VAR) replaced. There is no entry point: the image
// has none.
func (c *container) args() ([]string, error) {
	vars, err := c.variables()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, a := range append(slices.Clone(c.spec.Command), c.spec.Args...) {
		out = append(out, expand(a, vars))
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no command specified")
	}
	return out, nil
}

var reference = regexp.MustCompile(`\$\$|\$\([^()$]*\)`)

// expand replaces $(NAME) as Kubernetes does: unknown names stay, $$ is a dollar.
func expand(s string, vars map[string]string) string {
	return reference.ReplaceAllStringFunc(s, func(m string) string {
		if m == "$$" {
			return "$"
		}
		if v, ok := vars[m[2:len(m)-1]]; ok {
			return v
		}
		return m
	})
}

// variables are those that the container's specification sets.
func (c *container) variables() (map[string]string, error) {
	vars := map[string]string{}
	k := c.p.k
	k.mu.Lock()
	defer k.mu.Unlock()
	data := func(kd *kind, name string) (map[string]string, error) {
		switch o := k.st.get(kd, c.p.spec.Namespace, name).(type) {
		case *corev1.ConfigMap:
			return o.Data, nil
		case *corev1.Secret:
			out := map[string]string{}
			for n, v := range o.Data {
				out[n] = string(v)
			}
			return out, nil
		}
		return nil, fmt.Errorf("%s %q not found", strings.TrimSuffix(kd.resource, "s"), name)
	}
	for _, f := range c.spec.EnvFrom {
		var d map[string]string
		var err error
		switch {
		case f.ConfigMapRef != nil:
			d, err = data(configMaps, f.ConfigMapRef.Name)
		case f.SecretRef != nil:
			d, err = data(secrets, f.SecretRef.Name)
		}
		if err != nil {
			return nil, err
		}
		for n, v := range d {
			vars[f.Prefix+n] = v
		}
	}
	for _, e := range c.spec.Env {
		v := expand(e.Value, vars)
		if f := e.ValueFrom; f != nil {
			var d map[string]string
			var err error
			switch {
			case f.FieldRef != nil:
				v = c.p.field(f.FieldRef.FieldPath)
			case f.ResourceFieldRef != nil:
				q := c.spec.Resources.Limits[corev1.ResourceName(strings.TrimPrefix(f.ResourceFieldRef.Resource, "limits."))]
				v = strconv.FormatInt(q.Value(), 10)
			case f.ConfigMapKeyRef != nil:
				d, err = data(configMaps, f.ConfigMapKeyRef.Name)
				v = d[f.ConfigMapKeyRef.Key]
			case f.SecretKeyRef != nil:
				d, err = data(secrets, f.SecretKeyRef.Name)
				v = d[f.SecretKeyRef.Key]
			}
			if err != nil {
				return nil, err
			}
		}
		vars[e.Name] = v
	}
	return vars, nil
}

var keyed = regexp.MustCompile(`^metadata\.(labels|annotations)\['([^']*)'\]$`)

// field is what the downward API gives.
func (p *pod) field(path string) string {
	if m := keyed.FindStringSubmatch(path); m != nil {
		if m[1] == "labels" {
			return p.spec.Labels[m[2]]
		}
		return p.spec.Annotations[m[2]]
	}
	return map[string]string{"metadata.name": p.spec.Name, "metadata.namespace": p.spec.Namespace, "metadata.uid": string(p.spec.UID),
		"spec.nodeName": p.host.Name, "spec.serviceAccountName": p.spec.Spec.ServiceAccountName, "status.podIP": p.ip, "status.podIPs": p.ip,
		"status.hostIP": p.host.Address, "status.hostIPs": p.host.Address}[path]
}

// environment is all that the container's program gets.
func (c *container) environment(dir string, plain bool) ([]string, error) {
	vars, err := c.variables()
	if err != nil {
		return nil, err
	}
	if plain {
		for n, v := range vars {
			vars[n] = c.translate(v)
		}
		vars["DLX_SANDBOX_HOSTS"] = filepath.Join(c.p.dir, "hosts")
	}
	set := func(name, v string) {
		if _, ok := vars[name]; !ok {
			vars[name] = v
		}
	}
	set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	set("HOME", "/root")
	set("HOSTNAME", c.p.hostname())
	set("KUBERNETES_SERVICE_HOST", c.p.k.c.Address)
	set("KUBERNETES_SERVICE_PORT", strconv.Itoa(c.p.k.c.Port))
	set("container", "dlx-sandbox")
	if q := c.spec.Resources.Limits[gpuResource]; q.Value() > 0 {
		var ids []string
		for i := 0; i < len(c.p.gpus) && int64(i) < q.Value(); i++ {
			ids = append(ids, strconv.Itoa(c.p.gpus[i]))
		}
		vars["NVIDIA_VISIBLE_DEVICES"], vars["CUDA_VISIBLE_DEVICES"] = strings.Join(ids, ","), strings.Join(ids, ",")
	}
	vars[markName] = c.p.k.s.home(c.p.host.Server)
	vars[podMark] = dir + "/"
	var out []string
	for _, n := range slices.Sorted(maps.Keys(vars)) {
		out = append(out, n+"="+vars[n])
	}
	return out, nil
}

// translate replaces, in a text, the paths of the container's mounts by those where they really
// are: what a container without a mount namespace of its own gets instead. Texts that reach the
// program another way (a script on its standard input) are as they are.
func (c *container) translate(s string) string {
	list := c.mounts()
	slices.SortStableFunc(list, func(a, b mount) int { return len(b.at) - len(a.at) })
	word := func(b byte) bool {
		return b == '.' || b == '_' || b == '-' || '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
	}
	var out strings.Builder
scan:
	for i := 0; i < len(s); i++ {
		for _, m := range list {
			end := i + len(m.at)
			if !m.file && strings.HasPrefix(s[i:], m.at) && (i == 0 || !word(s[i-1]) && s[i-1] != '/') && (end == len(s) || !word(s[end])) {
				out.WriteString(m.from)
				i = end - 1
				continue scan
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}
