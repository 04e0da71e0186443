package kubernetes_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/backendtest"
	"dlx.dev/dlx/backends/kubernetes"
)

// admitted has the test in Kueue's place: who admits a Job takes its suspension away.
func admitted(t *testing.T, b *bed) {
	spec := strings.Replace(b.spec, "{", `{"queue": "bench", "jobSet": false, `, 1)
	_, err := b.Provision(t.Context(), backends.FleetRequest{Owner: backends.Owner{Run: b.run, Fleet: "f"}, Ledger: &b.book,
		Machines: []backends.MachineRequest{{Name: "m0", Spec: json.RawMessage(spec)}}})
	if backends.ClassOf(err) != backends.Config || !strings.Contains(fmt.Sprint(err), `queue "bench" of machine m0 is in no namespace`) {
		t.Errorf("without a namespace: got %v", err)
	}
	ns := "dlx-queue-" + b.run
	b.api(http.MethodPost, "/api/v1/namespaces", `{"metadata": {"name": "`+ns+`"}}`)
	t.Cleanup(func() { b.delete("/api/v1/namespaces/" + ns) })
	x := newBedIn(t, b.kubeconfig, ns, spec)
	m := x.fleet("f", 1)[0]
	q := x.l.(backends.Queuer)
	g := backends.Group{ID: "g", Machines: []backends.Machine{m, m}, Args: [][]string{shell("exit 3"), shell("exit 4")}}
	waits := func(g backends.Group) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if in, err := q.Queue(ctx, []backends.Group{g}); !in && err == nil || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v, %v", in, err)
		}
		jobs := b.jobsIn(ns)
		if len(jobs) != 1 || !jobs[0].Spec.Suspend || jobs[0].Metadata.Labels["kueue.x-k8s.io/queue-name"] != "bench" || len(b.podsIn(ns)) > 0 {
			t.Errorf("what waits: got %+v and %d pods", jobs, len(b.podsIn(ns)))
		}
	}
	waits(g)
	b.admit(ns)
	if in, err := q.Queue(t.Context(), []backends.Group{g}); !in || err != nil {
		t.Fatalf("got %v, %v", in, err)
	}
	for _, p := range b.podsIn(ns) {
		if len(p.Spec.SchedulingGates) != 1 || p.Status.Phase != corev1.PodPending {
			t.Errorf("before the start pod %s is %s, gates %v", p.Name, p.Status.Phase, p.Spec.SchedulingGates)
		}
	}
	if err := x.l.Start(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	for i := range g.Machines {
		if e, err := x.l.Wait(t.Context(), m, backends.ProcessID("g", i)); err != nil || e.Code != 3+i {
			t.Errorf("got %+v, %v", e, err)
		}
	}
	for began := time.Now(); len(b.jobsIn(ns)) > 0; { // each look takes a request's time
		if time.Since(began) > time.Minute {
			t.Fatal("the Job is there still")
		}
	}
	g.ID = "h"
	waits(g)
	if err := x.l.Stop(t.Context(), m, "h-0", time.Second); err != nil || len(b.jobsIn(ns)) > 0 {
		t.Errorf("after a stop there are %d Jobs, %v", len(b.jobsIn(ns)), err)
	}
}

type jobSeen struct {
	Metadata struct {
		Name                string
		Labels, Annotations map[string]string
	}
	Spec struct{ Suspend bool }
}

func (b *bed) jobsIn(ns string) []jobSeen {
	b.t.Helper()
	var list struct{ Items []jobSeen }
	if err := json.Unmarshal([]byte(b.api(http.MethodGet, "/apis/batch/v1/namespaces/"+ns+"/jobs", "")), &list); err != nil {
		b.t.Fatal(err)
	}
	return list.Items
}

// podsIn lists the pods of processes.
func (b *bed) podsIn(ns string) []corev1.Pod {
	b.t.Helper()
	var list corev1.PodList
	if err := json.Unmarshal([]byte(b.api(http.MethodGet, "/api/v1/namespaces/"+ns+"/pods?labelSelector=dlx.dev%2Fpart%3Dprocess", "")), &list); err != nil {
		b.t.Fatal(err)
	}
	return list.Items
}

// admit lets all Jobs go on.
func (b *bed) admit(ns string) {
	b.t.Helper()
	for _, j := range b.jobsIn(ns) {
		b.api(http.MethodPatch, "/apis/batch/v1/namespaces/"+ns+"/jobs/"+j.Metadata.Name, `{"spec": {"suspend": false}}`)
	}
}

// Kueue itself admits the second trial when the first has ended: DLX_TEST_QUEUE names a LocalQueue with 2 CPUs in
// the namespace "default". The wait shows in the log, in Kueue's words. As Jobs, a trial's roles are
// admitted one by one; as a JobSet, all of them or none.
func TestKueue(t *testing.T) {
	kubeconfig := realCluster(t)
	queue := os.Getenv("DLX_TEST_QUEUE")
	if queue == "" {
		backendtest.Skip(t, "kubernetes/kueue", "DLX_TEST_QUEUE names no LocalQueue")
	}
	for _, whole := range []bool{false, true} {
		t.Run(fmt.Sprintf("jobSet %v", whole), func(t *testing.T) {
			b := newBedIn(t, kubeconfig, "default", simulatedPod(t, func(p *kubernetes.Pod) { p.Queue, p.JobSet = queue, &whole }))
			m := b.fleet("f", 1)[0]
			q := b.l.(backends.Queuer)
			role := func(id string, seconds float64) backends.Group {
				return backends.Group{ID: id, Machines: []backends.Machine{m}, Args: [][]string{simulated(seconds)}, CPUs: 1}
			}
			first := []backends.Group{role("first/a", 75)}
			second := []backends.Group{role("second/a", 0), role("second/b", 0)}
			begin := func(groups []backends.Group, least time.Duration) (began time.Time) {
				began = time.Now()
				if in, err := q.Queue(t.Context(), groups); !in || err != nil {
					t.Fatalf("%s: got %v, %v", groups[0].ID, in, err)
				}
				if waited := time.Since(began); waited < least || waited > least+time.Minute {
					t.Errorf("%s waited for %v", groups[0].ID, waited)
				}
				for _, g := range groups {
					if err := b.l.Start(t.Context(), g); err != nil {
						t.Fatal(err)
					}
				}
				return began
			}
			begin(first, 0)
			began := begin(second, 45*time.Second)
			beside := 0 // roles of the second that were admitted while the first ran
			for _, p := range b.podsIn("default") {
				if strings.HasPrefix(p.Annotations["dlx.dev/group"], "second/") && p.CreationTimestamp.Time.Before(began.Add(30*time.Second)) {
					beside++
				}
			}
			if whole && beside != 0 || !whole && beside != 1 {
				t.Errorf("of the second trial's roles %d were admitted beside the first", beside)
			}
			for _, id := range []string{"first/a-0", "second/a-0", "second/b-0"} {
				if _, err := b.l.Wait(t.Context(), m, id); err != nil {
					t.Error(err)
				}
			}
			if log := b.log(); !strings.Contains(log, "waits for its turn in queue") || !strings.Contains(log, "insufficient unused quota") {
				t.Errorf("the log does not say why it waits:\n%s", log)
			}
			third := role("third/a", 0)
			third.CPUs = 3 // never
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if _, err := q.Queue(ctx, []backends.Group{third}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("more than the queue has: got %v", err)
			}
			if err := b.l.Stop(t.Context(), m, "third/a-0", time.Second); err != nil {
				t.Error(err)
			}
			isThird := func(j jobSeen) bool { return j.Metadata.Annotations["dlx.dev/group"] == "third/a" }
			for began := time.Now(); slices.ContainsFunc(b.jobsIn("default"), isThird); { // a JobSet's Job goes a moment after it
				if time.Since(began) > time.Minute {
					t.Fatal("after a stop its Job waits on")
				}
			}
		})
	}
}
