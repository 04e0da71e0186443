package kubernetes_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"dlx.dev/dlx/backends/kubernetes"
)

// TestEachVerbOfDetachIsNeeded takes one verb after the other out of rbac/detach.yaml: then a run
// cannot be put into the cluster, or not be removed, and the error says which verb. With all of them,
// and those of rbac/namespace.yaml, it can.
func TestEachVerbOfDetachIsNeeded(t *testing.T) {
	kubeconfig := realCluster(t)
	inside, detach := readRole(t, "rbac/namespace.yaml"), readRole(t, "rbac/detach.yaml")
	try := func(t *testing.T, without, of string) error {
		t.Helper()
		role := inside
		role.Rules = nil
		for _, r := range append(slices.Clone(detach.Rules), inside.Rules...) { // the last one is looked at
			r.Verbs = slices.DeleteFunc(slices.Clone(r.Verbs), func(v string) bool { return v == without && r.Resources[0] == of })
			role.Rules = append(role.Rules, r)
		}
		admin := newBed(t, kubeconfig, podOfTests())
		user, ns := "user-"+admin.run, "dlx-verb-"+admin.run
		admin.grant(ns, user, role)
		return putAndRemove(t, admin, as(t, kubeconfig, user), ns)
	}
	t.Run("all", func(t *testing.T) {
		t.Parallel()
		if err := try(t, "", ""); err != nil {
			t.Error(err)
		}
	})
	for _, rule := range detach.Rules {
		for _, verb := range rule.Verbs {
			t.Run("without "+verb+" "+rule.Resources[0], func(t *testing.T) {
				t.Parallel()
				err := try(t, verb, rule.Resources[0])
				if want := refusalOf(verb, rule.Resources[0]); err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v; want it to say %q", err, want)
				}
			})
		}
	}
}

// putAndRemove makes what a detached run is made of, and removes it.
func putAndRemove(t *testing.T, admin *bed, kubeconfig []byte, ns string) error {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, kubeconfig, 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(kubernetes.Config{Kubeconfig: file})
	if err != nil {
		t.Fatal(err)
	}
	d, err := kubernetes.DetachedIn(t.Context(), config, kubernetes.Detach{Run: admin.run, Namespace: ns, Machine: json.RawMessage(admin.spec)}, kubernetes.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for range 2 { // the second finds what the first made
		if err := d.Make(t.Context(), kubernetes.Volume{Size: "1Mi"}); err != nil {
			return err
		}
	}
	if s, err := d.State(t.Context()); err != nil || s.Phase != kubernetes.DetachedNone {
		t.Errorf("got %+v, %v", s, err)
	}
	if err := d.Remove(t.Context()); err != nil {
		return err
	}
	var left rbacv1.RoleList
	text := admin.api(http.MethodGet, fmt.Sprintf("/apis/rbac.authorization.k8s.io/v1/namespaces/%s/roles", ns), "")
	if err := json.Unmarshal([]byte(text), &left); err != nil || len(left.Items) != 1 {
		t.Errorf("%d roles are there; want that of the test alone (%v)", len(left.Items), err)
	}
	return nil
}
