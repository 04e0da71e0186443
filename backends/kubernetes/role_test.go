package kubernetes_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
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

	"sigs.k8s.io/yaml"

	rbacv1 "k8s.io/api/rbac/v1"

	"k8s.io/client-go/tools/clientcmd"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/backendtest"
	"dlx.dev/dlx/backends/kubernetes"
)

// A login for one namespace that is there is enough, and one that may do less is told what it
// lacks. The rules are those of the package's documentation.
func TestRole(t *testing.T) {
	kubeconfig := realCluster(t)
	admin := newBed(t, kubeconfig, podOfTests())
	ns := "dlx-role-" + admin.run
	admin.grant(ns, "bench", readRole(t, "rbac/namespace.yaml"))
	b := newBedIn(t, as(t, kubeconfig, "bench"), ns, admin.spec)
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
	x, err := kubernetes.NewBackend(as(t, kubeconfig, "stranger"), ns, kubernetes.Options{Log: t.Logf})
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

// realCluster is the kubeconfig of an administrator of a real cluster.
func realCluster(t *testing.T) []byte {
	t.Helper()
	path := os.Getenv("DLX_TEST_KUBECONFIG")
	if path == "" {
		backendtest.Skip(t, "kubernetes/real", "DLX_TEST_KUBECONFIG names no cluster")
	}
	kubeconfig, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}

// grant gives a user the rights of a role in a new namespace, or everywhere if ns is empty, and
// takes them away when all that the test began later has been cleaned up.
func (b *bed) grant(ns, user string, role rbacv1.ClusterRole) {
	b.t.Helper()
	const group = "/apis/rbac.authorization.k8s.io/v1"
	at, kind := group+"/cluster", "ClusterRole"
	if ns != "" {
		at, kind = group+"/namespaces/"+ns+"/", "Role"
		b.api(http.MethodPost, "/api/v1/namespaces", `{"metadata": {"name": "`+ns+`"}}`)
	}
	role.Name = user
	text, err := json.Marshal(role)
	if err != nil {
		b.t.Fatal(err)
	}
	b.api(http.MethodPost, at+"roles", string(text))
	b.api(http.MethodPost, at+"rolebindings", `{"metadata": {"name": "`+user+`"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "`+kind+`", "name": "`+user+`"},
		"subjects": [{"kind": "User", "name": "`+user+`", "apiGroup": "rbac.authorization.k8s.io"}]}`)
	last := role.Rules[len(role.Rules)-1]
	for review := ""; !strings.Contains(review, `"allowed":true`); { // the server looks at copies of its own
		review = b.api(http.MethodPost, "/apis/authorization.k8s.io/v1/subjectaccessreviews", fmt.Sprintf(`{"spec": {"user": %q,
			"resourceAttributes": {"namespace": %q, "group": %q, "resource": %q, "verb": %q}}}`, user, ns, last.APIGroups[0], last.Resources[0], last.Verbs[0]))
	}
	b.t.Cleanup(func() {
		if ns != "" {
			b.delete("/api/v1/namespaces/" + ns)
			return
		}
		b.delete(at + "rolebindings/" + user)
		b.delete(at + "roles/" + user)
	})
}

// as is a kubeconfig that acts for another user.
func as(t *testing.T, kubeconfig []byte, user string) []byte {
	t.Helper()
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

// TestEachVerbIsNeeded takes one verb after the other out of the roles in rbac: then something that
// dlx does fails, and says which. With all of them everything works.
func TestEachVerbIsNeeded(t *testing.T) {
	kubeconfig := realCluster(t)
	for _, file := range []string{"namespace", "cluster"} {
		role := readRole(t, "rbac/"+file+".yaml")
		t.Run(file+" all", func(t *testing.T) {
			t.Parallel()
			if err := with(t, kubeconfig, role); err != nil {
				t.Error(err)
			}
		})
		for i, rule := range role.Rules {
			for _, verb := range rule.Verbs {
				resource := rule.Resources[0]
				if verb == "list" && resource == "events" {
					continue // for servers before 1.34: later ones send the list with the watch
				}
				if file == "cluster" && resource != "namespaces" && resource != "nodes" {
					continue // as in the other file
				}
				t.Run(file+" without "+verb+" "+strings.ReplaceAll(resource, "/", "-"), func(t *testing.T) {
					t.Parallel()
					less := role
					less.Rules = slices.Clone(role.Rules)
					less.Rules[i].Verbs = slices.DeleteFunc(slices.Clone(rule.Verbs), func(v string) bool { return v == verb })
					less.Rules = slices.DeleteFunc(less.Rules, func(r rbacv1.PolicyRule) bool { return len(r.Verbs) == 0 })
					err := with(t, kubeconfig, less)
					if err == nil {
						t.Fatalf("everything works without %s %s: the role allows too much", verb, resource)
					}
					if want := refusalOf(verb, resource); !strings.Contains(err.Error(), want) {
						t.Errorf("got %v; want it to say %q", err, want)
					}
				})
			}
		}
	}
}

// readRole reads a Role or ClusterRole. Each of its rules is for one resource.
func readRole(t *testing.T, path string) rbacv1.ClusterRole {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var role rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict(text, &role); err != nil {
		t.Fatal(err)
	}
	for _, r := range role.Rules {
		if len(r.Resources) != 1 {
			t.Fatalf("%s: a rule for %q; want one resource a rule", path, r.Resources)
		}
	}
	return role
}

// with does everything as a user with a role.
func with(t *testing.T, kubeconfig []byte, role rbacv1.ClusterRole) error {
	t.Helper()
	admin := newBed(t, kubeconfig, podOfTests())
	user := "user-" + admin.run
	ns := ""
	if role.Kind == "Role" {
		ns = "dlx-verb-" + admin.run
	}
	admin.grant(ns, user, role)
	return everything(t, admin, as(t, kubeconfig, user), ns)
}

// refusalOf is what an error says when a verb is lacking. The server gives no reason for an exec.
func refusalOf(verb, resource string) string {
	if resource == "pods/exec" && verb == "create" {
		return `it takes the verbs create and get on resource "pods/exec"`
	}
	return fmt.Sprintf("cannot %s resource %q", verb, resource)
}

// everything does with a login what dlx does on a cluster, and returns what went wrong first.
func everything(t *testing.T, admin *bed, kubeconfig []byte, ns string) error {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var mu sync.Mutex
	var refused error // events are of use, but nothing ends without them
	b, err := kubernetes.NewBackend(kubeconfig, ns, kubernetes.Options{Patience: 20 * time.Second, Log: func(format string, args ...any) {
		if line := fmt.Sprintf(format, args...); strings.Contains(line, "forbidden") && (ns == "" || !strings.Contains(line, `resource "nodes"`)) { // of those a login for one namespace knows less
			mu.Lock()
			defer mu.Unlock()
			refused = errors.New(line)
		}
		t.Logf(format, args...)
	}})
	if err != nil {
		return err
	}
	defer b.Close(context.WithoutCancel(ctx))
	l := b.Launchers["kubernetes"]
	owner := backends.Owner{Run: admin.run, Fleet: "f"}
	ledger := &book{state: map[string]string{}}
	spec := json.RawMessage(admin.spec)
	ms, err := b.Provision(ctx, backends.FleetRequest{Owner: owner, Ledger: ledger, Hosts: backends.DifferentHosts,
		Machines: []backends.MachineRequest{{Name: "m0", Spec: spec}, {Name: "m1", Spec: spec}}})
	if err != nil {
		return err
	}
	if ms, err = l.Prepare(ctx, ms); err != nil {
		return err
	}
	// Two holders, two processes and two more. The server takes a moment to know of it.
	where := cmp.Or(ns, ms[0].Access.Kubernetes.Namespace)
	admin.api(http.MethodPost, "/api/v1/namespaces/"+where+"/resourcequotas", `{"metadata": {"name": "few"}, "spec": {"hard": {"pods": "6"}}}`)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		return err
	}
	if _, err := l.Stage(ctx, ms[0], backends.File{Name: "file", Path: file, Mode: 0o644}); err != nil {
		return err
	}
	both := backends.Group{ID: "p", Machines: ms, Args: [][]string{shell("echo out; exit 3"), shell("exit 4")}}
	for range 2 { // the second finds what the first did
		if err := l.Start(ctx, both); err != nil {
			return err
		}
	}
	for i, m := range ms {
		if _, err := l.Wait(ctx, m, fmt.Sprint("p-", i)); err != nil {
			return err
		}
	}
	r, err := l.Open(ctx, ms[0], "p-0", backends.Stdout, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := io.ReadAll(r); err != nil {
		return err
	}
	if err := stopUnstarted(ctx, l, ms[0]); err != nil {
		return err
	}
	many := backends.Group{ID: "q"}
	for range 6 {
		many.Machines, many.Args = append(many.Machines, ms[0]), append(many.Args, shell("sleep 100"))
	}
	err = l.Start(ctx, many)
	if backends.ClassOf(err) != backends.Quota {
		return fmt.Errorf("a pod too many: %w", err)
	}
	if _, err := b.Owned(ctx, owner); err != nil {
		return err
	}
	if err := b.Release(ctx, owner, ledger); err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	return refused
}

// stopUnstarted stops a process for which no node has the room.
func stopUnstarted(ctx context.Context, l backends.Launcher, m backends.Machine) error {
	soon, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	err := l.Start(soon, backends.Single(m, backends.Process{ID: "big", CPUs: 1000, Args: shell("exit 0")}))
	if err == nil {
		return errors.New("a process with 1000 CPUs has been started")
	}
	if backends.ClassOf(err) == backends.Config && strings.Contains(err.Error(), "forbidden") {
		return err
	}
	return l.Stop(ctx, m, "big-0", time.Second)
}
