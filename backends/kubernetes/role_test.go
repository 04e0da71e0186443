package kubernetes_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/kubernetes"
)

// A login for one namespace that is there is enough, and one that may do less is told what it
// lacks. The rules are those of the package's documentation.
func TestRole(t *testing.T) {
	path := os.Getenv("DLX_TEST_KUBECONFIG")
	if path == "" {
		if slices.Contains(strings.Split(os.Getenv("DLX_TEST_REQUIRE"), ","), "kubernetes/real") {
			t.Fatal("DLX_TEST_KUBECONFIG names no cluster, and DLX_TEST_REQUIRE demands one")
		}
		t.Skip("DLX_TEST_KUBECONFIG names no cluster; DLX_TEST_REQUIRE=kubernetes/real demands one")
	}
	kubeconfig, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := os.ReadFile("testdata/role.json")
	if err != nil {
		t.Fatal(err)
	}
	admin := newBed(t, kubeconfig, podOfTests())
	ns := "dlx-role-" + admin.run
	admin.api(http.MethodPost, "/api/v1/namespaces", `{"metadata": {"name": "`+ns+`"}}`)
	defer admin.api(http.MethodDelete, "/api/v1/namespaces/"+ns, `{}`)
	at := "/apis/rbac.authorization.k8s.io/v1/namespaces/" + ns
	admin.api(http.MethodPost, at+"/roles", string(rules))
	admin.api(http.MethodPost, at+"/rolebindings", `{"metadata": {"name": "dlx"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "dlx"},
		"subjects": [{"kind": "User", "name": "bench", "apiGroup": "rbac.authorization.k8s.io"}]}`)
	as := func(user string) []byte {
		cfg, err := clientcmd.Load(kubeconfig)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range cfg.AuthInfos {
			u.Impersonate = user
		}
		text, err := clientcmd.Write(*cfg)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	b := newBedIn(t, as("bench"), ns, admin.spec)
	m := b.fleet("f", 1)[0]
	if m.Host == "" || m.Facts["node.kubelet"] != "" {
		t.Errorf("got host %q, facts %v", m.Host, m.Facts)
	}
	if err := b.l.Start(t.Context(), backends.Single(m, backends.Process{ID: "p", CPUs: 1, Args: shell("exit 3")})); err != nil {
		t.Fatal(err)
	}
	if e, err := b.l.Wait(t.Context(), m, "p-0"); err != nil || e.Code != 3 {
		t.Errorf("got %+v, %v", e, err)
	}
	if err := b.Release(t.Context(), backends.Owner{Run: b.run}, &b.book); err != nil {
		t.Error(err)
	}
	x, err := kubernetes.NewBackend(as("stranger"), ns, kubernetes.Options{Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close(t.Context())
	_, err = x.Provision(t.Context(), backends.FleetRequest{Owner: backends.Owner{Run: "r", Fleet: "f"}, Ledger: &book{state: map[string]string{}},
		Machines: []backends.MachineRequest{{Name: "m0", Spec: json.RawMessage(admin.spec)}}})
	if backends.ClassOf(err) != backends.Config || !strings.Contains(fmt.Sprint(err), `User "stranger" cannot get resource "configmaps"`) {
		t.Errorf("got %s: %v", backends.ClassOf(err), err)
	}
}
