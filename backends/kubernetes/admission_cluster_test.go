package kubernetes_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/kubernetes"
)

// in gives a bed in a namespace of the test's own, which has labels.
func (b *bed) in(labels string) *bed {
	b.t.Helper()
	ns := fmt.Sprintf("dlx-in-%d", time.Now().UnixNano())
	b.api(http.MethodPost, "/api/v1/namespaces", fmt.Sprintf(`{"metadata": {"name": %q, "labels": {%s}}}`, ns, labels))
	b.t.Cleanup(func() { b.delete("/api/v1/namespaces/" + ns) })
	x := newBedIn(b.t, b.kubeconfig, ns, b.spec)
	x.ns = ns
	return x
}

// sandboxed reports whether the cluster is the sandbox's.
func (b *bed) sandboxed() bool { return strings.Contains(b.spec, `"sandbox"`) }

// with gives the bed other pods.
func (b *bed) with(change func(*kubernetes.Pod)) {
	b.t.Helper()
	var p kubernetes.Pod
	if err := json.Unmarshal([]byte(b.spec), &p); err != nil {
		b.t.Fatal(err)
	}
	change(&p)
	text, err := json.Marshal(p)
	if err != nil {
		b.t.Fatal(err)
	}
	b.spec = string(text)
}

// findings are those of a check of one machine, on which one process takes something.
func (b *bed) findings(l backends.Load) string {
	b.t.Helper()
	c, ok := b.Provider.(backends.Checker)
	if !ok {
		b.t.Fatal("the provider checks nothing")
	}
	found, err := c.Check(b.t.Context(), "", []backends.Need{places(1, b.spec, l)})
	if err != nil {
		b.t.Fatal(err)
	}
	var all []string
	for _, f := range found {
		all = append(all, f.Msg)
	}
	return strings.Join(all, "\n")
}

// refused checks that an error is one of the study's or the testbed's, and that it and the findings of a
// check say why.
func refused(t *testing.T, err error, findings, why string) {
	t.Helper()
	if backends.ClassOf(err) != backends.Config || !strings.Contains(fmt.Sprint(err), why) {
		t.Errorf("got %s: %v; want it to say %q", backends.ClassOf(err), err, why)
	}
	if !strings.Contains(findings, why) {
		t.Errorf("the check found %q; want it to say %q", findings, why)
	}
}

func securityLevels(t *testing.T, b *bed) {
	one := backends.Load{Processes: 1}
	provision := func(b *bed) error {
		_, err := b.Provision(t.Context(), backends.FleetRequest{Owner: backends.Owner{Run: b.run, Fleet: "f"}, Ledger: &b.book,
			Machines: []backends.MachineRequest{{Name: "m", Spec: json.RawMessage(b.spec)}}})
		return err
	}
	for _, level := range []string{"baseline", "restricted"} {
		x := b.in(`"pod-security.kubernetes.io/enforce": "` + level + `"`)
		refused(t, provision(x), x.findings(one), `violates PodSecurity "`+level+`:latest": `)
		if text := x.findings(one); !strings.Contains(text, `volume "scratch"`) {
			t.Errorf("%s: the check found %q", level, text)
		}
	}
	// A user's pods with a volume meet every level.
	x := b.in(`"pod-security.kubernetes.io/enforce": "restricted"`)
	const user = 1000
	x.claim("scratch", user)
	x.with(func(p *kubernetes.Pod) { p.User, p.Scratch = user, kubernetes.Scratch{Claim: "scratch"} })
	if text := x.findings(one); text != "" {
		t.Errorf("the check found %q", text)
	}
	m := x.fleet("f", 1)[0]
	if err := x.l.Start(t.Context(), backends.Single(m, backends.Process{ID: "p", Args: shell("id -u; grep -e NoNewPrivs -e Seccomp: /proc/self/status")})); err != nil {
		t.Fatal(err)
	}
	if e, err := x.l.Wait(t.Context(), m, "p-0"); err != nil || e.Code != 0 {
		t.Fatalf("got %+v, %v", e, err)
	}
	if got := x.output(m, "p-0"); !strings.HasPrefix(m.Facts["node.runtime"], "sandbox") && strings.Join(strings.Fields(got), " ") != "1000 NoNewPrivs: 1 Seccomp: 2" {
		t.Errorf("a user's process says\n%s", got)
	}
}

// claim makes a claim and, where none is made for it, the volume: a folder of this computer, which all
// nodes of the lab see.
func (b *bed) claim(name string, user int) {
	b.t.Helper()
	volume := ""
	if os.Getenv("DLX_TEST_LAB") != "" && !b.sandboxed() {
		folder := filepath.Join(b.t.TempDir(), "volume")
		if err := os.Mkdir(folder, 0o700); err != nil {
			b.t.Fatal(err)
		}
		if err := os.Chown(folder, user, user); err != nil {
			b.t.Fatal(err)
		}
		volume = b.ns
		b.api(http.MethodPost, "/api/v1/persistentvolumes", fmt.Sprintf(`{"metadata": {"name": %q}, "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
			"persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": %q}, "claimRef": {"namespace": %q, "name": %q}}}`, volume, folder, b.ns, name))
		b.t.Cleanup(func() { b.delete("/api/v1/persistentvolumes/" + volume) })
	}
	b.api(http.MethodPost, "/api/v1/namespaces/"+b.ns+"/persistentvolumeclaims", fmt.Sprintf(`{"metadata": {"name": %q},
		"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}, "volumeName": %q}}`, name, volume))
}

// untilAdmitted waits until a pod that asks for nothing would have something: admission learns of limit
// ranges by a watch.
func (b *bed) untilAdmitted(with string) {
	b.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) { // between two questions to a real server
		got := b.api(http.MethodPost, "/api/v1/namespaces/"+b.ns+"/pods?dryRun=All", `{"metadata": {"name": "asks-for-nothing"}, "spec": {"containers": [{"name": "main", "image": "none"}]}}`)
		if strings.Contains(got, with) {
			return
		}
		if time.Now().After(end) {
			b.t.Fatalf("a pod has not %s, but is %s", with, got)
		}
	}
}

func limitsOfANamespace(t *testing.T, b *bed) {
	x := b.in("")
	ranges := "/api/v1/namespaces/" + x.ns + "/limitranges"
	x.api(http.MethodPost, ranges, `{"metadata": {"name": "small"}, "spec": {"limits": [{"type": "Container", "default": {"cpu": "500m", "memory": "256Mi"}, "max": {"cpu": "1500m"}}]}}`)
	m := x.fleet("f", 1)[0]
	x.untilAdmitted(`"cpu":"500m"`)
	start := func(id string, cpus int) error {
		return x.l.Start(t.Context(), backends.Single(m, backends.Process{ID: id, CPUs: cpus, MemoryMiB: 64 * cpus, Args: shell("true")}))
	}
	// None that the study asks for.
	refused(t, start("default", 0), x.findings(backends.Load{Processes: 1}), "CPU limit 500m where the study asks for none (LimitRanger plugin set: cpu")
	if err := x.l.Stop(t.Context(), m, "default-0", time.Second); err != nil {
		t.Error(err)
	}
	// More than there may be.
	refused(t, start("more", 2), x.findings(backends.Load{Processes: 1, CPUs: 2, MemoryMiB: 128}), "maximum cpu usage per Container is 1500m, but limit is 2")
	// As asked for.
	if text := x.findings(backends.Load{Processes: 1, CPUs: 1, MemoryMiB: 64}); text != "" {
		t.Errorf("the check found %q", text)
	}
	if err := start("asked", 1); err != nil {
		t.Fatal(err)
	}
	if e, err := x.l.Wait(t.Context(), m, "asked-0"); err != nil || e.Code != 0 {
		t.Errorf("got %+v, %v", e, err)
	}
	// A limit that no node exceeds throttles nothing.
	x.delete(ranges + "/small")
	x.api(http.MethodPost, ranges, `{"metadata": {"name": "large"}, "spec": {"limits": [{"type": "Container", "default": {"cpu": "4k"}, "defaultRequest": {"cpu": "0"}}]}}`)
	x.untilAdmitted(`"cpu":"4k"`)
	if text := x.findings(backends.Load{Processes: 1}); text != "" {
		t.Errorf("the check found %q", text)
	}
}

func keptByFinalizers(t *testing.T, b *bed) {
	b.fleet("f", 1)
	ns := "/api/v1/namespaces/dlx-" + b.run
	var holder string
	for _, p := range b.list("api/v1", "pods") {
		holder = p.Name
	}
	hold := func(path string, held bool) {
		list := "null"
		if held {
			list = `["example.org/hold"]`
		}
		b.api(http.MethodPatch, path, `{"metadata": {"finalizers": `+list+`}}`)
	}
	release := func(o backends.Owner) error {
		patience := 10 * time.Second
		if b.sandboxed() {
			patience = 3 * time.Second
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return b.Release(ctx, o, &b.book)
	}
	hold(ns+"/pods/"+holder, true)
	err := release(backends.Owner{Run: b.run, Fleet: "f"})
	if why := "pods " + holder + " (finalizers example.org/hold)"; backends.ClassOf(err) != backends.Infra || !strings.Contains(fmt.Sprint(err), why) {
		t.Errorf("got %s: %v; want it to say %q", backends.ClassOf(err), err, why)
	}
	if state := b.book.state["pod "+holder]; state != "made" {
		t.Errorf("the ledger holds the pod that is kept as %s", state)
	}
	hold(ns+"/pods/"+holder, false)
	if err := b.Release(t.Context(), backends.Owner{Run: b.run, Fleet: "f"}, &b.book); err != nil {
		t.Error(err)
	}

	// What is not dlx's, and keeps the run's own namespace.
	b.fleet("g", 1)
	b.api(http.MethodPost, ns+"/configmaps", `{"metadata": {"name": "kept", "finalizers": ["example.org/hold"]}}`)
	err = release(backends.Owner{Run: b.run})
	if why := "finalizers remaining: example.org/hold in 1 resource instances"; backends.ClassOf(err) != backends.Infra || !strings.Contains(fmt.Sprint(err), why) {
		t.Errorf("got %s: %v; want it to say %q", backends.ClassOf(err), err, why)
	}
	if state := b.book.state["namespace dlx-"+b.run]; state != "made" {
		t.Errorf("the ledger holds the namespace that is kept as %s", state)
	}
	hold(ns+"/configmaps/kept", false)
	if err := b.Release(t.Context(), backends.Owner{Run: b.run}, &b.book); err != nil {
		t.Error(err)
	}
	if left, err := b.Owned(t.Context(), backends.Owner{Run: b.run}); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	b.book.forget()
}

func evicted(t *testing.T, b *bed) {
	x := b.in("")
	m := x.fleet("f", 1)[0]
	start := func(id, script string) corev1.Pod {
		t.Helper()
		if err := x.l.Start(t.Context(), backends.Single(m, backends.Process{ID: id, Args: shell(script)})); err != nil {
			t.Fatal(err)
		}
		for _, p := range x.podsIn(x.ns) {
			if p.Annotations["dlx.dev/group"] == id {
				return p
			}
		}
		t.Fatalf("no pod of %s", id)
		return corev1.Pod{}
	}
	lost := func(id, why string) {
		t.Helper()
		e, err := x.l.Wait(t.Context(), m, id+"-0")
		if backends.ClassOf(err) != backends.Infra || !strings.Contains(fmt.Sprint(err), why) {
			t.Errorf("got %+v, %s: %v; want it to say %q", e, backends.ClassOf(err), err, why)
		}
	}
	p := start("drained", "sleep 3600")
	x.api(http.MethodPost, "/api/v1/namespaces/"+x.ns+"/pods/"+p.Name+"/eviction", `{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "`+p.Name+`"}}`)
	lost("drained", "EvictionByEvictionAPI: Eviction API: evicting")
	if strings.HasPrefix(m.Facts["node.runtime"], "sandbox") {
		return // it counts no disk
	}
	// By the kubelet, for it takes more disk than it may.
	x.api(http.MethodPost, "/api/v1/namespaces/"+x.ns+"/limitranges", `{"metadata": {"name": "disk"}, "spec": {"limits": [{"type": "Container", "default": {"ephemeral-storage": "8Mi"}}]}}`)
	x.untilAdmitted(`"ephemeral-storage":"8Mi"`)
	began := time.Now()
	start("full", "head -c 67108864 /dev/zero >/full; sleep 3600")
	lost("full", "Evicted: Pod ephemeral local storage usage exceeds the total limit of containers 8Mi.")
	t.Logf("evicted by the kubelet after %v", time.Since(began))
}
