package spec

import (
	"dlx.dev/dlx/spec/words"

	"cmp"
	"slices"
	"strings"
)

// Services that machines of an OpenStack come from, with the fields that each takes.
var services = map[string][]string{
	"nova":   {"service", "flavor", "image", "network", "floatingPool", "user", "sshPort", "zone"},
	"ironic": {"service", "resourceClass", "image", "user", "sshPort"},
	"magnum": {"service", "clusterTemplate", "flavor", "masterFlavor", "masters", "labels", "pod"},
}

// server checks a machine of the OpenStack wire protocol.
func (d *decoder) server(n *node) {
	service := "nova"
	if s := n.get("service"); s != nil {
		service = cmp.Or(d.oneOf(s, "ironic", "magnum", "nova"), service)
	}
	d.serviceFields(n, service)
	for _, name := range []string{"flavor", "image", "network", "floatingPool", "user", "zone", "resourceClass", "clusterTemplate", "masterFlavor"} {
		d.text(n.get(name))
	}
	if p := n.get("sshPort"); p != nil {
		if v, ok := d.whole(p, 1); ok && v > 65535 {
			d.errorf(p, "found %s; a port is at most 65535", p.found())
		}
	}
	switch service {
	case "nova":
		d.need(n, "image", `"ubuntu-24.04"`)
		d.need(n, "flavor", `"m1.large"; a server of nova takes its size from a flavor (bare metal by Ironic: service: "ironic" and resourceClass)`)
	case "ironic":
		d.need(n, "image", `"ubuntu-24.04"`)
		d.need(n, "resourceClass", `"baremetal"; ironic picks a node by its resource class`)
	case "magnum":
		d.need(n, "clusterTemplate", `"k8s-vm"; a cluster of magnum is made of a template`)
		d.wholeOr(n.get("masters"), 1, 1)
		d.texts(n.get("labels"), `{kube_tag: "v1.33.1"}`)
		if p := d.need(n, "pod", `{image: "ubuntu:24.04"}; what runs on the nodes of the cluster`); p != nil {
			d.pod(p)
		}
	}
}

// serviceFields reports fields that a machine of the service does not have.
func (d *decoder) serviceFields(n *node, service string) {
	var all []string
	for _, fields := range services {
		all = append(all, fields...)
	}
	for _, f := range n.fields {
		switch {
		case slices.Contains(services[service], f.name):
		case f.name == "resourceClass":
			d.atLabel(f.node, `resourceClass belongs to bare metal; write service: "ironic", or remove it`)
		case f.name == "flavor":
			d.atLabel(f.node, `a node of ironic has no flavor; remove it, or write service: "nova"`)
		case slices.Contains(all, f.name):
			d.atLabel(f.node, "a machine of %s has no %s; remove it (it has: %s)", service, f.name, strings.Join(services[service], ", "))
		default:
			d.atLabel(f.node, "unknown field%s", words.DidYouMean(f.name, services[service]))
		}
	}
}

var podFields = []string{"image", "pullPolicy", "pullSecret", "nodeSelector", "tolerations", "serviceAccount", "runtimeClass", "hostNetwork", "queue", "jobSet", "gpu", "deviceClass", "user", "scratch", "mounts"}

// pod checks what pods a machine of a cluster has.
func (d *decoder) pod(n *node) {
	if !d.isStruct(n, `{image: "ubuntu:24.04"}`) {
		return
	}
	d.unknown(n, podFields...)
	d.text(d.need(n, "image", `"ubuntu:24.04"; an image with a POSIX shell`))
	for _, name := range []string{"pullSecret", "serviceAccount", "runtimeClass", "queue", "gpu", "deviceClass"} {
		d.text(n.get(name))
	}
	if class := n.get("deviceClass"); class != nil && n.get("gpu") != nil {
		d.atLabel(class, "gpu and deviceClass exclude each other; remove one of them")
	}
	d.oneOf(n.get("pullPolicy"), "Always", "IfNotPresent", "Never")
	d.boolean(n.get("hostNetwork"))
	d.boolean(n.get("jobSet"))
	if user := n.get("user"); user != nil {
		if _, ok := d.whole(user, 1); ok && n.get("scratch") == nil {
			d.atLabel(user, `only root may write to the folder that is made for scratch by default; write scratch: {claim: "dlx"}, or a hostPath which that user owns`)
		}
	}
	d.texts(n.get("nodeSelector"), `{"kubernetes.io/arch": "amd64"}`)
	if t := n.get("tolerations"); d.isList(t, `[{key: "gpu", operator: "Exists"}]`) {
		for _, e := range t.elems {
			if d.isStruct(e, `{key: "gpu", operator: "Exists"}`) {
				d.unknown(e, "key", "operator", "value", "effect")
				d.text(e.get("key"))
				d.str(e.get("value"))
				d.oneOf(e.get("operator"), "Equal", "Exists")
				d.oneOf(e.get("effect"), "NoExecute", "NoSchedule", "PreferNoSchedule")
			}
		}
	}
	const mount = `{path: "/data", hostPath: "/data"}`
	if l := n.get("mounts"); d.isList(l, "["+mount+"]") {
		for _, e := range l.elems {
			if d.isStruct(e, mount) {
				d.unknown(e, "path", "hostPath", "claim")
				d.absolute(d.need(e, "path", `"/data"`), "in the pod")
				if e.get("hostPath") == nil && e.get("claim") == nil {
					d.errorf(e, `neither hostPath nor claim; write hostPath: "/data"`)
				}
				d.volume(e)
			}
		}
	}
	if s := n.get("scratch"); d.isStruct(s, `{hostPath: "/var/tmp/dlx"} or {claim: "dlx"}`) {
		d.unknown(s, "hostPath", "claim")
		d.volume(s)
	}
}

// volume checks where a volume of a pod is from.
func (d *decoder) volume(n *node) {
	path, claim := n.get("hostPath"), n.get("claim")
	if path != nil && claim != nil {
		d.atLabel(claim, "hostPath and claim exclude each other; remove one of them")
	}
	d.text(claim)
	d.absolute(path, "on the nodes")
}

func (d *decoder) absolute(n *node, where string) {
	if p := d.text(n); p != "" && !strings.HasPrefix(p, "/") {
		d.errorf(n, "%s is not absolute; it lies %s, so write the whole path, with / first", quote(p), where)
	}
}

// texts checks {name: text}.
func (d *decoder) texts(n *node, form string) {
	if d.isStruct(n, form) {
		for _, f := range n.fields {
			d.str(f.node)
		}
	}
}

func (d *decoder) boolean(n *node) {
	if n != nil && n.kind != boolKind && n.kind != badKind {
		d.errorf(n, "found %s; true or false is wanted", n.found())
	}
}
