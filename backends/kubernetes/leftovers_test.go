package kubernetes_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/kubernetes"
	"dlx.dev/dlx/backends/sandbox"
)

// Logins that may not look everywhere find what they can; runs that share a namespace are told apart.
func TestLeftovers(t *testing.T) {
	faults := &sandbox.Faults{}
	kubeconfig := sandboxCluster(t, faults)
	open := func(ns string) (*backends.Backend, backends.Collector) {
		b, err := kubernetes.NewBackend(kubeconfig, ns, kubernetes.Options{Log: t.Logf})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := errors.Join(b.Close(context.WithoutCancel(t.Context()))); err != nil {
				t.Error(err)
			}
		})
		return b, b.Provider.(backends.Collector)
	}
	forbid := func(path string) {
		faults.Fail("GET "+path, http.StatusForbidden, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403, "reason": "Forbidden", "message": "it is forbidden: User \"bench\" cannot list resource"}`, 1)
	}
	shared, inShared := open("shared")
	each, inEach := open("")
	make := func(b *backends.Backend, run string) {
		r := backends.FleetRequest{Owner: backends.Owner{Run: run, Fleet: "f"}, Until: time.Now().Add(time.Hour), Ledger: &book{state: map[string]string{}}}
		r.Machines = places(1, plain, backends.Load{}).Machines
		if _, err := b.Provision(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	list := func(c backends.Collector) []string {
		all, err := c.Leftovers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, l := range all {
			out = append(out, l.Owner.Run+" "+l.Object.Kind)
		}
		return slices.Compact(out)
	}
	want := func(c backends.Collector, lines ...string) {
		t.Helper()
		if diff := cmp.Diff(lines, list(c)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	make(shared, "one") // it makes the namespace, which the other uses as well
	make(shared, "two")
	make(each, "three")
	want(inShared, "one configmap", "one pod", "one service", "two configmap", "two pod", "two service")
	want(inEach, "three namespace", "three configmap", "three pod", "three service")
	forbid("/api/v1/namespaces")
	want(inEach, "three namespace", "three configmap", "three pod", "three service")
	forbid("/api/v1/configmaps")
	want(inEach, "three namespace", "three configmap", "three pod", "three service")
	forbid("/api/v1/namespaces")
	forbid("/api/v1/configmaps")
	if _, err := inEach.Leftovers(t.Context()); backends.ClassOf(err) != backends.Config {
		t.Errorf("a login that may look nowhere: got %v", err)
	}
	if err := shared.Release(t.Context(), backends.Owner{Run: "one"}, &book{state: map[string]string{}}); err != nil {
		t.Error(err)
	}
	want(inShared, "two configmap", "two pod", "two service")
	if err := shared.Release(t.Context(), backends.Owner{Run: "two"}, &book{state: map[string]string{}}); err != nil {
		t.Error(err)
	}
	want(inShared)
	if err := each.Release(t.Context(), backends.Owner{Run: "three"}, &book{state: map[string]string{}}); err != nil {
		t.Error(err)
	}
	want(inEach)
}
