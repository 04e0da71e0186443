package kubernetes_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dlx.dev/dlx/backends"
)

// What only clusters do, against the sandbox's and, if DLX_TEST_KUBECONFIG names one, a real one.
// The variables are those of the worlds of package backendtest.
func TestCluster(t *testing.T) {
	for _, c := range []struct {
		name  string
		check func(*testing.T, *bed)
	}{
		{"CPUs that are taken are no capacity, and start later", takenCPUs},
		{"a process that takes too much memory fails", tooMuchMemory},
		{"a pod that the cluster takes away is an infrastructure failure", podTaken},
		{"a quota that the pods of a Job exceed is a quota", quotaOfPods},
		{"a namespace goes with the last fleet, and comes again", namespaceLives},
		{"large files are staged", largeFiles},
		{"many processes of a group are started together", wideGroup},
		{"what belongs to a fleet is applied by dlx, with the last deadline", appliedFleet},
		{"a Job that stands in a queue starts when it has been admitted", admitted},
		{"a Job goes when the ends of all its processes are read", readJobsGo},
		{"a level of Pod Security that pods do not meet is named, and a user's meet all", securityLevels},
		{"limits that the study does not ask for are refused", limitsOfANamespace},
		{"what finalizers keep is named, and goes later", keptByFinalizers},
		{"what is evicted is an infrastructure failure", evicted},
		{"a token, and logins that are renewed", logins},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Run("sandbox", func(t *testing.T) {
				c.check(t, newBed(t, sandboxCluster(t, nil), `{"image": "sandbox"}`))
			})
			t.Run("real", func(t *testing.T) {
				c.check(t, newBed(t, realCluster(t), podOfTests()))
			})
		})
	}
}

func takenCPUs(t *testing.T, b *bed) {
	m := b.fleet("f", 1)[0]
	var cpus int
	if _, err := fmt.Sscan(m.Facts["node.cpus"], &cpus); err != nil || cpus < 1 {
		t.Fatalf("node.cpus is %q", m.Facts["node.cpus"])
	}
	all := func(id string) backends.Group {
		return backends.Single(m, backends.Process{ID: id, Args: shell("sleep 3600"), CPUs: cpus})
	}
	if err := b.l.Start(t.Context(), all("first")); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	err := b.l.Start(t.Context(), all("second"))
	if backends.ClassOf(err) != backends.Capacity || !strings.Contains(fmt.Sprint(err), "Insufficient cpu") {
		t.Errorf("got %s: %v", backends.ClassOf(err), err)
	}
	if d := time.Since(began); d > 20*time.Second {
		t.Errorf("noticed after %v", d)
	}
	if err := b.l.Stop(t.Context(), m, "first-0", time.Second); err != nil {
		t.Error(err)
	}
	if err := b.l.Start(t.Context(), all("second")); err != nil {
		t.Errorf("when there is room: %v", err)
	}
	if err := b.l.Stop(t.Context(), m, "second-0", time.Second); err != nil {
		t.Error(err)
	}
	if e, err := b.l.Wait(t.Context(), m, "second-0"); err != nil || !e.Stopped {
		t.Errorf("got %+v, %v", e, err)
	}
}

func tooMuchMemory(t *testing.T, b *bed) {
	m := b.fleet("f", 1)[0]
	// A shell that holds a long text in memory. The limit is above what runtimes themselves need.
	g := backends.Single(m, backends.Process{ID: "p", MemoryMiB: 48, Args: shell(`x=$(head -c 120000000 /dev/zero | tr '\0' x); echo ${#x}`)})
	if err := b.l.Start(t.Context(), g); err != nil && backends.ClassOf(err) != backends.Workload {
		t.Fatal(err)
	}
	e, err := b.l.Wait(t.Context(), m, "p-0")
	t.Logf("got %+v, %v", e, err)
	switch {
	case err == nil && e.Code == 0 && strings.HasPrefix(m.Facts["node.runtime"], "sandbox"):
		t.Log("the sandbox limits no memory here")
	case err == nil && e.Code == 0, err != nil && (backends.ClassOf(err) != backends.Workload || !strings.Contains(err.Error(), "memory limit 48Mi")):
		t.Errorf("got %+v, %v", e, err)
	}
}

func podTaken(t *testing.T, b *bed) {
	m := b.fleet("f", 1)[0]
	g := backends.Group{ID: "g", Machines: []backends.Machine{m, m}, Args: [][]string{shell("sleep 3600"), shell("sleep 15; exit 4")}}
	if err := b.l.Start(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	var list struct {
		Items []struct {
			Metadata struct {
				Name        string
				Annotations map[string]string
			}
		}
	}
	at := "/api/v1/namespaces/" + m.Access.Kubernetes.Namespace + "/pods"
	if err := json.Unmarshal([]byte(b.api(http.MethodGet, at+"?labelSelector=dlx.dev%2Fpart%3Dprocess", "")), &list); err != nil || len(list.Items) != 2 {
		t.Fatalf("got %d pods, %v", len(list.Items), err)
	}
	for _, p := range list.Items {
		if p.Metadata.Annotations["batch.kubernetes.io/job-completion-index"] == "0" {
			b.api(http.MethodDelete, at+"/"+p.Metadata.Name, "{}")
		}
	}
	_, err := b.l.Wait(t.Context(), m, "g-0")
	if backends.ClassOf(err) != backends.Infra || !strings.Contains(fmt.Sprint(err), "the cluster ended its pod") {
		t.Errorf("got %s: %v", backends.ClassOf(err), err)
	}
	if e, err := b.l.Wait(t.Context(), m, "g-1"); err != nil || e.Code != 4 {
		t.Errorf("the other: got %+v, %v", e, err)
	}
}

func quotaOfPods(t *testing.T, b *bed) {
	m := b.fleet("f", 1)[0]
	b.api(http.MethodPost, "/api/v1/namespaces/"+m.Access.Kubernetes.Namespace+"/resourcequotas", `{"metadata": {"name": "few"}, "spec": {"hard": {"pods": "1"}}}`)
	time.Sleep(time.Second) // admission learns of a quota by a watch
	began := time.Now()
	err := b.l.Start(t.Context(), backends.Single(m, backends.Process{ID: "p", Args: shell("true")}))
	if backends.ClassOf(err) != backends.Quota || !strings.Contains(fmt.Sprint(err), "exceeded quota: few") {
		t.Errorf("got %s: %v", backends.ClassOf(err), err)
	}
	if d := time.Since(began); d > 20*time.Second {
		t.Errorf("noticed after %v", d)
	}
}

func namespaceLives(t *testing.T, b *bed) {
	b.fleet("a", 1)
	b.fleet("b", 1)
	has := func(want bool) {
		t.Helper()
		list, err := b.Owned(t.Context(), backends.Owner{Run: b.run})
		if err != nil {
			t.Error(err)
		}
		if got := slices.ContainsFunc(list, func(o backends.Object) bool { return o.Kind == "namespace" }); got != want {
			t.Errorf("got %v", list)
		}
	}
	has(true)
	if err := b.Release(t.Context(), backends.Owner{Run: b.run, Fleet: "a"}, &b.book); err != nil {
		t.Error(err)
	}
	has(true)
	// The last fleet goes while another comes.
	done := make(chan error, 1)
	go func() { done <- b.Release(t.Context(), backends.Owner{Run: b.run, Fleet: "b"}, &b.book) }()
	for i := range 3 {
		b.fleet(fmt.Sprint("c", i), 1)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	has(true)
	if err := b.Release(t.Context(), backends.Owner{Run: b.run}, &b.book); err != nil {
		t.Error(err)
	}
	has(false)
}

func largeFiles(t *testing.T, b *bed) {
	m := b.fleet("f", 1)[0]
	path := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(path, bytes.Repeat([]byte("0123456789abcdef"), 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			began := time.Now()
			at, err := b.l.Stage(t.Context(), m, backends.File{Name: "data", Path: path, Mode: 0o600})
			t.Logf("staged at %s in %v, %v", at, time.Since(began), err)
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func wideGroup(t *testing.T, b *bed) {
	ms := b.fleet("f", 3)
	g := backends.Group{ID: "wide", Env: map[string]string{"X": "$(Y) $$ x"}}
	for i := range 9 {
		g.Machines, g.Args = append(g.Machines, ms[i%3]), append(g.Args, shell(`echo "$1 $X"; exit $1`, fmt.Sprint(i)))
	}
	began := time.Now()
	if err := b.l.Start(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	t.Logf("started in %v", time.Since(began))
	for i, m := range g.Machines {
		id := backends.ProcessID(g.ID, i)
		if e, err := b.l.Wait(t.Context(), m, id); err != nil || e.Code != i {
			t.Errorf("%s: got %+v, %v", id, e, err)
			continue
		}
		r, err := b.l.Open(t.Context(), m, id, backends.Stdout, 0)
		if err != nil {
			t.Error(err)
			continue
		}
		if out, err := io.ReadAll(r); err != nil || string(out) != fmt.Sprintf("%d $(Y) $$ x\n", i) {
			t.Errorf("%s: got %q, %v", id, out, err)
		}
		r.Close()
	}
	t.Logf("all over after %v", time.Since(began))
}
