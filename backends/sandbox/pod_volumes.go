package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// rootfsFolder holds, in a machine's home, what pods of its node see as host paths.
const rootfsFolder = "rootfs"

func (p *pod) volumeFolder(name string) string { return filepath.Join(p.dir, "volumes", name) }

// makeVolumes makes what the pod's volumes need. An error says what is not there yet, in the
// kubelet's words.
func (p *pod) makeVolumes() error {
	for i := range p.spec.Spec.Volumes {
		v := &p.spec.Spec.Volumes[i]
		if err := p.makeVolume(v); err != nil {
			return fmt.Errorf("MountVolume.SetUp failed for volume %q : %w", v.Name, err)
		}
	}
	return p.makeAccount()
}

func (p *pod) makeVolume(v *corev1.Volume) error {
	dir := p.volumeFolder(v.Name)
	switch {
	case v.HostPath != nil:
		return makeHostPath(p.hostPath(v.HostPath.Path), v.HostPath)
	case v.ConfigMap != nil:
		p.k.mu.Lock()
		m, _ := p.k.st.get(configMaps, p.spec.Namespace, v.ConfigMap.Name).(*corev1.ConfigMap)
		p.k.mu.Unlock()
		if m == nil && !ptr.Deref(v.ConfigMap.Optional, false) {
			return fmt.Errorf("configmap %q not found", v.ConfigMap.Name)
		}
		files := map[string][]byte{}
		if m != nil {
			for n, text := range m.Data {
				files[n] = []byte(text)
			}
			for n, b := range m.BinaryData {
				files[n] = b
			}
		}
		return writeFiles(dir, files, v.ConfigMap.Items, ptr.Deref(v.ConfigMap.DefaultMode, 0o644))
	case v.Secret != nil:
		p.k.mu.Lock()
		m, _ := p.k.st.get(secrets, p.spec.Namespace, v.Secret.SecretName).(*corev1.Secret)
		p.k.mu.Unlock()
		if m == nil && !ptr.Deref(v.Secret.Optional, false) {
			return fmt.Errorf("secret %q not found", v.Secret.SecretName)
		}
		if m == nil {
			m = &corev1.Secret{}
		}
		return writeFiles(dir, m.Data, v.Secret.Items, ptr.Deref(v.Secret.DefaultMode, 0o644))
	case v.PersistentVolumeClaim != nil:
		p.k.mu.Lock()
		m, _ := p.k.st.get(claims, p.spec.Namespace, v.PersistentVolumeClaim.ClaimName).(*corev1.PersistentVolumeClaim)
		p.k.mu.Unlock()
		if m == nil || m.Status.Phase != corev1.ClaimBound {
			return fmt.Errorf("persistentvolumeclaim %q not found", v.PersistentVolumeClaim.ClaimName)
		}
		return nil
	case v.EmptyDir != nil, v.Projected != nil:
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		return os.Chmod(dir, 0o777) //nolint:gosec // as kubelet makes it
	}
	return fmt.Errorf("the sandbox does not serve this kind of volume")
}

// hostPath is where a path of the node really is.
func (p *pod) hostPath(path string) string {
	return filepath.Join(p.k.s.home(p.host.Server), rootfsFolder, filepath.Clean("/"+path))
}

// makeHostPath checks the type of a host path. Without one a folder is made, as container runtimes do.
func makeHostPath(dir string, v *corev1.HostPathVolumeSource) error {
	fi, err := os.Stat(dir)
	switch t := ptr.Deref(v.Type, corev1.HostPathUnset); t {
	case corev1.HostPathUnset, corev1.HostPathDirectoryOrCreate:
		if err == nil {
			return nil
		}
		return os.MkdirAll(dir, 0o755)
	case corev1.HostPathDirectory:
		if err != nil || !fi.IsDir() {
			return fmt.Errorf("hostPath type check failed: %s is not a directory", v.Path)
		}
	case corev1.HostPathFileOrCreate:
		if err == nil {
			return nil
		}
		if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
			return err
		}
		return os.WriteFile(dir, nil, 0o644) //nolint:gosec // as kubelet makes it
	case corev1.HostPathFile:
		if err != nil || !fi.Mode().IsRegular() {
			return fmt.Errorf("hostPath type check failed: %s is not a file", v.Path)
		}
	default:
		return fmt.Errorf("hostPath type check failed: %s is not a %s", v.Path, strings.ToLower(string(t)))
	}
	return nil
}

// writeFiles puts the keys of a ConfigMap or Secret into a folder, once.
func writeFiles(dir string, files map[string][]byte, items []corev1.KeyToPath, mode int32) error {
	if len(items) == 0 {
		for n := range files {
			items = append(items, corev1.KeyToPath{Key: n, Path: n})
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, i := range items {
		b, ok := files[i.Key]
		if !ok {
			return fmt.Errorf("references non-existent config key: %s", i.Key)
		}
		file := filepath.Join(dir, filepath.Clean("/"+i.Path))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		m := os.FileMode(ptr.Deref(i.Mode, mode)) & 0o777 //nolint:gosec // permission bits
		if err := os.WriteFile(file, b, m); err != nil {
			return err
		}
		if err := os.Chmod(file, m); err != nil {
			return err
		}
	}
	return nil
}

// mounts is what the container sees besides the image: its volumes, and the files that say who
// it is and who the others are.
func (c *container) mounts() []mount {
	out := []mount{{from: filepath.Join(c.p.dir, "hosts"), at: "/etc/hosts", file: true}}
	if _, err := os.Stat("/etc/nsswitch.conf"); err == nil {
		out = append(out, mount{from: filepath.Join(c.p.dir, "nsswitch.conf"), at: "/etc/nsswitch.conf", file: true, readOnly: true})
	}
	if m, ok := c.p.accountMount(); ok {
		out = append(out, m)
	}
	for _, m := range c.spec.VolumeMounts {
		i := slices.IndexFunc(c.p.spec.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		if i < 0 {
			continue
		}
		v := &c.p.spec.Spec.Volumes[i]
		from := c.p.volumeFolder(v.Name)
		switch {
		case v.HostPath != nil:
			from = c.p.hostPath(v.HostPath.Path)
		case v.PersistentVolumeClaim != nil:
			c.p.k.mu.Lock()
			if o := c.p.k.st.get(claims, c.p.spec.Namespace, v.PersistentVolumeClaim.ClaimName); o != nil {
				from = c.p.k.claimFolder(o.GetUID())
			}
			c.p.k.mu.Unlock()
		}
		if m.SubPath != "" {
			from = filepath.Join(from, filepath.Clean("/"+m.SubPath))
			if _, err := os.Stat(from); err != nil {
				_ = os.MkdirAll(from, 0o755)
			}
		}
		fi, err := os.Stat(from)
		out = append(out, mount{from: from, at: filepath.Clean(m.MountPath), readOnly: m.ReadOnly || v.ConfigMap != nil || v.Secret != nil, file: err == nil && !fi.IsDir()})
	}
	return out
}
