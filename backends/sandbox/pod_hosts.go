package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Names of pods. The sandbox has no DNS server: each pod's /etc/hosts has the names that DNS would
// have, and is kept up to date in place, so that a name that comes later is found later.

// named is a pod that a headless service gives a name.
type named struct {
	ip, host, service, namespace string
}

// names lists all of the cluster. The caller holds k.mu.
func (k *kube) names() []named {
	var out []named
	headless := map[string]*corev1.Service{}
	for _, s := range all[*corev1.Service](k.st, services, "") {
		if s.Spec.ClusterIP == corev1.ClusterIPNone {
			headless[key(s.Namespace, s.Name)] = s
		}
	}
	for _, p := range all[*corev1.Pod](k.st, pods, "") {
		if p.Status.PodIP == "" || ended(p) {
			continue
		}
		for _, s := range headless {
			if s.Namespace != p.Namespace || len(s.Spec.Selector) == 0 || !labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(p.Labels)) ||
				!s.Spec.PublishNotReadyAddresses && !podReady(p) {
				continue
			}
			n := named{ip: p.Status.PodIP, service: s.Name, namespace: s.Namespace}
			if p.Spec.Subdomain == s.Name {
				n.host = p.Spec.Hostname
			}
			out = append(out, n)
		}
	}
	return out
}

// hostsFor is the hosts file of a pod. The caller holds k.mu.
func (k *kube) hostsFor(p *pod) string { return hostsText(p, k.names()) }

func hostsText(p *pod, list []named) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# written by the sandbox\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	own := p.hostname()
	if sub := p.spec.Spec.Subdomain; sub != "" && p.spec.Spec.Hostname != "" {
		own = fmt.Sprintf("%s.%s.%s.svc.cluster.local %s", p.hostname(), sub, p.spec.Namespace, p.hostname())
	}
	fmt.Fprintf(&b, "%s\t%s\n", p.ip, own)
	for _, n := range list {
		var words []string
		add := func(stem string) {
			long := stem + "." + n.namespace
			words = append(words, long+".svc.cluster.local", long+".svc", long)
			if n.namespace == p.spec.Namespace {
				words = append(words, stem)
			}
		}
		if n.host != "" {
			add(n.host + "." + n.service)
		}
		add(n.service)
		fmt.Fprintf(&b, "%s\t%s\n", n.ip, strings.Join(words, " "))
	}
	return b.String()
}

// passHosts brings the hosts files of running pods up to date. The caller holds k.mu.
func (k *kube) passHosts() {
	list := k.names()
	for _, p := range k.pods {
		if p.done || p.hosts == "" {
			continue
		}
		text := hostsText(p, list)
		if text == p.hosts {
			continue
		}
		p.hosts = text
		if err := overwrite(filepath.Join(p.dir, "hosts"), text); err != nil && !os.IsNotExist(err) {
			k.s.cfg.Log("sandbox: %v", err)
		}
	}
}

// overwrite gives a file other content without giving its name another file: it is mounted.
func overwrite(file, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0o644) //nolint:gosec // everybody reads it
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(text), 0)
	if err == nil {
		err = f.Truncate(int64(len(text)))
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// nsswitch is the computer's nsswitch.conf, with the hosts file as the only place for names: a
// name that is not there is unknown at once, without asking a DNS server of the outside.
func nsswitch() []byte {
	b, err := os.ReadFile("/etc/nsswitch.conf")
	if err != nil {
		return nil
	}
	lines := strings.SplitAfter(string(b), "\n")
	for i, l := range lines {
		if strings.HasPrefix(strings.TrimSpace(l), "hosts:") {
			lines[i] = "hosts: files\n"
		}
	}
	return []byte(strings.Join(lines, ""))
}
