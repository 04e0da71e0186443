package kubernetes_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"dlx.dev/dlx/backends"
)

// admitted has the test in Kueue's place: who admits a Job takes its suspension away.
func admitted(t *testing.T, b *bed) {
	spec := strings.Replace(b.spec, "{", `{"queue": "bench", `, 1)
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
		if in, err := q.Queue(ctx, g); !in && err == nil || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v, %v", in, err)
		}
		jobs := b.jobsIn(ns)
		if len(jobs) != 1 || !jobs[0].Spec.Suspend || jobs[0].Metadata.Labels["kueue.x-k8s.io/queue-name"] != "bench" || len(b.podsIn(ns)) > 0 {
			t.Errorf("what waits: got %+v and %d pods", jobs, len(b.podsIn(ns)))
		}
	}
	waits(g)
	b.admit(ns)
	if in, err := q.Queue(t.Context(), g); !in || err != nil {
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
		Name   string
		Labels map[string]string
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
