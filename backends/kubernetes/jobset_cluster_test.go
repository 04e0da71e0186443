package kubernetes_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/backendtest"
)

// jobSetCluster is a real cluster with JobSet and its controller.
func jobSetCluster(t *testing.T) []byte {
	t.Helper()
	if os.Getenv("DLX_TEST_JOBSET") == "" {
		backendtest.Skip(t, "kubernetes/jobset", "DLX_TEST_JOBSET does not say that the cluster has JobSet")
	}
	return realCluster(t)
}

// A parameter server that never ends and two workers are one JobSet, chosen because the cluster has it.
// The trial starts them one after the other, and finds them again from another process.
func TestJobSet(t *testing.T) {
	b := newBed(t, jobSetCluster(t), podOfTests())
	ms := b.fleet("f", 2)
	ns := ms[0].Access.Kubernetes.Namespace
	if !ms[0].Access.Kubernetes.JobSet || ms[0].Facts["jobSet"] != "true" {
		t.Fatalf("no JobSet was chosen: %v", ms[0].Facts)
	}
	trial := func(name string) (ps, workers backends.Group) {
		ps = backends.Group{ID: name + "/ps", Machines: ms[:1], Args: [][]string{shell("while :; do echo served | busybox nc -l -p 7001; done")}}
		ask := `for i in 1 2 3 4 5 6 7 8 9 10; do [ "$(busybox nc "$1" 7001 </dev/null)" = served ] && exit 3; sleep 1; done; exit 9`
		at := b.l.Address(ms[0], ps.ID, 0)
		workers = backends.Group{ID: name + "/worker", Machines: ms, Args: [][]string{shell(ask, at), shell(ask, at)}}
		return ps, workers
	}
	ps, workers := trial("cell/a1")
	queue := func(l backends.Launcher) {
		t.Helper()
		if in, err := l.(backends.Queuer).Queue(t.Context(), []backends.Group{ps, workers}); in || err != nil {
			t.Fatalf("got %v, %v", in, err)
		}
		sets := b.setsIn(ns)
		if len(sets) != 1 || len(sets[0].Spec.ReplicatedJobs) != 2 || sets[0].Spec.ReplicatedJobs[0].Name != "ps" || sets[0].Spec.ReplicatedJobs[1].Name != "worker" {
			t.Fatalf("got %+v; want one of ps and worker", sets)
		}
	}
	queue(b.l)
	phases := func(want map[string]corev1.PodPhase) {
		t.Helper()
		pods := b.podsIn(ns)
		if len(pods) != 3 {
			t.Errorf("got %d pods", len(pods))
		}
		for _, p := range pods {
			if phase := want[p.Annotations["dlx.dev/group"]]; p.Status.Phase != phase || (phase == corev1.PodPending) != (len(p.Spec.SchedulingGates) > 0) {
				t.Errorf("pod %s is %s with gates %v; want %s", p.Name, p.Status.Phase, p.Spec.SchedulingGates, phase)
			}
		}
	}
	phases(map[string]corev1.PodPhase{ps.ID: corev1.PodPending, workers.ID: corev1.PodPending})
	if err := b.l.Start(t.Context(), ps); err != nil {
		t.Fatal(err)
	}
	phases(map[string]corev1.PodPhase{ps.ID: corev1.PodRunning, workers.ID: corev1.PodPending})

	again := newBed(t, b.kubeconfig, b.spec) // another process goes on
	queue(again.l)
	for _, g := range []backends.Group{ps, workers} {
		if err := again.l.Start(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	for i, m := range workers.Machines {
		if e, err := again.l.Wait(t.Context(), m, backends.ProcessID(workers.ID, i)); err != nil || e.Code != 3 {
			t.Errorf("worker %d: got %+v, %v", i, e, err)
		}
	}
	if err := again.l.Stop(t.Context(), ms[0], ps.ID+"-0", time.Second); err != nil {
		t.Error(err)
	}
	if e, err := again.l.Wait(t.Context(), ms[0], ps.ID+"-0"); err != nil || !e.Stopped {
		t.Errorf("the server: got %+v, %v", e, err)
	}
	for began := time.Now(); len(b.setsIn(ns))+len(b.jobsIn(ns)) > 0; {
		if time.Since(began) > time.Minute {
			t.Fatal("all ends are read, and the JobSet is there still")
		}
	}

	// The pod of a worker is taken away before it starts: JobSet ends the others. The next attempt is
	// another one.
	ps, workers = trial("cell/a2")
	queue(b.l)
	if err := b.l.Start(t.Context(), ps); err != nil {
		t.Fatal(err)
	}
	for _, p := range b.podsIn(ns) {
		if p.Annotations["dlx.dev/group"] == workers.ID {
			b.api(http.MethodDelete, "/api/v1/namespaces/"+ns+"/pods/"+p.Name, "{}")
		}
	}
	if err := b.l.Start(t.Context(), workers); backends.ClassOf(err) != backends.Infra {
		t.Errorf("got %s: %v", backends.ClassOf(err), err)
	}
	if _, err := b.l.Wait(t.Context(), ms[0], ps.ID+"-0"); backends.ClassOf(err) != backends.Infra || !strings.Contains(fmt.Sprint(err), "the cluster ended its pod") {
		t.Errorf("the server of a JobSet that failed: got %s: %v", backends.ClassOf(err), err)
	}
	if err := b.Release(t.Context(), backends.Owner{Run: b.run}, &b.book); err != nil {
		t.Error(err)
	}
}

// Without one of its rights JobSet is not chosen, and where the testbed demands it that right is named.
func TestEachVerbOfJobSetsIsNeeded(t *testing.T) {
	kubeconfig := jobSetCluster(t)
	withoutEach(t, kubeconfig, podOfTests(), "rbac/jobset.yaml", func(t *testing.T, b, _ *bed, _, without string) {
		m := b.fleet("f", 1)[0]
		if m.Access.Kubernetes.JobSet != (without == "") {
			t.Errorf("JobSet was chosen: %v", m.Access.Kubernetes.JobSet)
		}
		demanded := strings.Replace(b.spec, "{", `{"jobSet": true, `, 1)
		r := backends.FleetRequest{Owner: backends.Owner{Run: b.run, Fleet: "g"}, Ledger: &b.book, Machines: []backends.MachineRequest{{Name: "m0", Spec: json.RawMessage(demanded)}}}
		found, err := b.Provider.(backends.Checker).Check(t.Context(), "", []backends.Need{{Machines: r.Machines}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.Provision(t.Context(), r)
		if without != "" {
			want := "the login may not " + without + " jobsets in namespace"
			if backends.ClassOf(err) != backends.Config || !strings.Contains(fmt.Sprint(err), want) {
				t.Errorf("got %s: %v; want it to say %q", backends.ClassOf(err), err, want)
			}
			if len(found) != 1 || found[0].Field != "jobSet" || !strings.Contains(found[0].Msg, want) {
				t.Errorf("the check says %+v; want %q", found, want)
			}
			return
		}
		if err != nil || len(found) > 0 {
			t.Errorf("got %v, %v", err, found)
		}
		g := backends.Group{ID: "trial/worker", Machines: []backends.Machine{m}, Args: [][]string{shell("exit 4")}}
		for range 2 { // the second finds it
			if _, err := b.l.(backends.Queuer).Queue(t.Context(), []backends.Group{g}); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.l.Start(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		if e, err := b.l.Wait(t.Context(), m, "trial/worker-0"); err != nil || e.Code != 4 {
			t.Errorf("got %+v, %v", e, err)
		}
	})
}

type setSeen struct {
	Metadata struct{ Name string }
	Spec     struct {
		ReplicatedJobs []struct{ Name string }
	}
}

func (b *bed) setsIn(ns string) []setSeen {
	b.t.Helper()
	var list struct{ Items []setSeen }
	if err := json.Unmarshal([]byte(b.api(http.MethodGet, "/apis/jobset.x-k8s.io/v1alpha2/namespaces/"+ns+"/jobsets", "")), &list); err != nil {
		b.t.Fatal(err)
	}
	return list.Items
}
