package kubernetes_test

import (
	"encoding/json"
	"fmt"
	"io"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"dlx.dev/dlx/backends"
)

// list gives the heads of objects of the run's namespace.
func (b *bed) list(api, resource string) []metav1.ObjectMeta {
	b.t.Helper()
	var list struct {
		Items []struct{ Metadata metav1.ObjectMeta }
	}
	if err := json.Unmarshal([]byte(b.api("GET", "/"+api+"/namespaces/dlx-"+b.run+"/"+resource+"?labelSelector=dlx.dev/run", "")), &list); err != nil {
		b.t.Fatal(err)
	}
	var out []metav1.ObjectMeta
	for _, i := range list.Items {
		out = append(out, i.Metadata)
	}
	return out
}

func appliedFleet(t *testing.T, b *bed) {
	for _, until := range []string{"2018-03-20T12:00:00Z", "2018-03-21T12:00:00Z"} {
		at, err := time.Parse(time.RFC3339, until)
		if err != nil {
			t.Fatal(err)
		}
		r := backends.FleetRequest{Owner: backends.Owner{Run: b.run, Fleet: "f"}, Ledger: &b.book, Until: at}
		r.Machines = []backends.MachineRequest{{Name: "m0", Spec: json.RawMessage(b.spec)}}
		if _, err := b.Provision(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		for _, resource := range []string{"configmaps", "services"} {
			all := b.list("api/v1", resource)
			if len(all) != 1 {
				t.Fatalf("%d %s", len(all), resource)
			}
			if got := all[0].Annotations["dlx.dev/until"]; got != until {
				t.Errorf("%s: until %s; want %s", resource, got, until)
			}
			if got := fmt.Sprint(all[0].Labels["app.kubernetes.io/name"], " ", all[0].Labels["app.kubernetes.io/component"], " ", all[0].Labels["app.kubernetes.io/instance"] == b.run); got != "dlx fleet true" {
				t.Errorf("%s: labels of Kubernetes' own: got %q", resource, got)
			}
			applied := 0
			for _, e := range all[0].ManagedFields {
				if e.Manager == "dlx" && e.Operation == metav1.ManagedFieldsOperationApply {
					applied++
				}
			}
			if applied != 1 {
				t.Errorf("%s: managed by %+v", resource, all[0].ManagedFields)
			}
		}
	}
}

func readJobsGo(t *testing.T, b *bed) {
	m := b.fleet("f", 1)[0]
	g := backends.Group{ID: "pair", Machines: []backends.Machine{m, m}, Args: [][]string{shell("echo 0; exit 3"), shell("echo 1")}}
	var first [2]backends.Exit
	for round := range 2 { // the second finds what the first has left, without running anything
		if err := b.l.Start(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		for i := range first {
			e, err := b.l.Wait(t.Context(), m, backends.ProcessID(g.ID, i))
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 && len(b.list("apis/batch/v1", "jobs")) != 1 {
				t.Errorf("round %d: the Job went when one of two ends was read", round)
			}
			if round == 0 {
				first[i] = e
			} else if e != first[i] {
				t.Errorf("process %d: got %+v; want %+v", i, e, first[i])
			}
		}
		for began := time.Now(); len(b.list("apis/batch/v1", "jobs")) > 0; { // each look takes a request's time
			if time.Since(began) > time.Minute {
				t.Fatalf("round %d: the Job is there still", round)
			}
		}
	}
	for i, want := range []string{"0\n", "1\n"} {
		for range 2 { // from what was read with the end, and from the machine
			r, err := b.l.Open(t.Context(), m, backends.ProcessID(g.ID, i), backends.Stdout, 0)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); string(got) != want || err != nil {
				t.Errorf("process %d printed %q, %v; want %q", i, got, err, want)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
