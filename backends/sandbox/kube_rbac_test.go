package sandbox_test

import (
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"dlx.dev/dlx/backends/sandbox"
)

// TestAPodMayWhatTheRolesOfItsAccountAllow reads the credentials that a pod finds, and uses them.
func TestAPodMayWhatTheRolesOfItsAccountAllow(t *testing.T) {
	inBothWorlds(t, 1, sandbox.Config{}, func(w *world) {
		admin, err := rest.HTTPClientFor(w.rest)
		if err != nil {
			w.t.Fatal(err)
		}
		defer admin.CloseIdleConnections()
		call := func(c *http.Client, token, method, path, body string) int {
			w.t.Helper()
			req, err := http.NewRequestWithContext(w.t.Context(), method, w.rest.Host+path, strings.NewReader(body))
			if err != nil {
				w.t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			if token != "" {
				req.Header.Set("Authorization", "Bearer "+token)
			}
			resp, err := c.Do(req)
			if err != nil {
				w.t.Fatal(err)
			}
			_ = resp.Body.Close()
			return resp.StatusCode
		}
		const rbac = "/apis/rbac.authorization.k8s.io/v1/"
		for path, body := range map[string]string{
			"/api/v1/namespaces/default/serviceaccounts": `{"metadata": {"name": "reader"}}`,
			rbac + "namespaces/default/roles": `{"metadata": {"name": "system:reader"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
				{"apiGroups": ["batch"], "resources": ["*"], "resourceNames": ["one"], "verbs": ["*"]}]}`,
			rbac + "namespaces/default/rolebindings": `{"metadata": {"name": "reader"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "system:reader"},
				"subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": "default"}]}`,
			rbac + "clusterroles": `{"metadata": {"name": "nodes"}, "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}]}`,
			rbac + "clusterrolebindings": `{"metadata": {"name": "nodes"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "nodes"},
				"subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:serviceaccounts:default"}]}`,
		} {
			if got := call(admin, "", http.MethodPost, path, body); got != http.StatusCreated {
				w.t.Fatalf("POST %s: %d", path, got)
			}
		}
		read := func(name string, edit func(*corev1.PodSpec)) string {
			w.createPod(sh(name, "cd /var/run/secrets/kubernetes.io/serviceaccount && cat token && echo && cat namespace && echo && head -n 1 ca.crt", edit))
			until(w, w.core, "pods", name, func(p *corev1.Pod) bool {
				return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
			})
			return w.log(name)
		}
		if got := read("without", func(s *corev1.PodSpec) { s.AutomountServiceAccountToken = ptr.To(false) }); strings.Contains(got, "BEGIN") {
			w.t.Errorf("a pod that wants no credentials found %q", got)
		}
		found := lines(read("with", func(s *corev1.PodSpec) { s.ServiceAccountName = "reader" }))
		if len(found) != 3 || found[1] != "default" || found[2] != "-----BEGIN CERTIFICATE-----" {
			w.t.Fatalf("got %q", found)
		}
		plain := rest.CopyConfig(w.rest)
		plain.CertData, plain.KeyData = nil, nil
		client, err := rest.HTTPClientFor(plain)
		if err != nil {
			w.t.Fatal(err)
		}
		defer client.CloseIdleConnections()
		for _, x := range []struct {
			token, method, path string
			want                int
		}{
			{found[0], http.MethodGet, "/api/v1/namespaces/default/pods", http.StatusOK},
			{found[0], http.MethodGet, "/api/v1/namespaces/default/pods/with", http.StatusOK},
			{found[0], http.MethodDelete, "/api/v1/namespaces/default/pods/with", http.StatusForbidden},
			{found[0], http.MethodGet, "/api/v1/namespaces/default/pods/with/log", http.StatusForbidden},
			{found[0], http.MethodGet, "/api/v1/namespaces/kube-system/pods", http.StatusForbidden},
			{found[0], http.MethodGet, "/api/v1/pods", http.StatusForbidden},
			{found[0], http.MethodGet, "/api/v1/nodes", http.StatusOK},
			{found[0], http.MethodGet, "/apis/batch/v1/namespaces/default/jobs/one", http.StatusNotFound},
			{found[0], http.MethodGet, "/apis/batch/v1/namespaces/default/jobs/two", http.StatusForbidden},
			{found[0] + "x", http.MethodGet, "/api/v1/namespaces/default/pods", http.StatusUnauthorized},
			{"", http.MethodGet, "/api/v1/namespaces/default/pods", http.StatusUnauthorized},
		} {
			if got := call(client, x.token, x.method, x.path, ""); got != x.want {
				w.t.Errorf("%s %s with %d bytes of a token: %d; want %d", x.method, x.path, len(x.token), got, x.want)
			}
		}
		if got := call(admin, "", http.MethodDelete, "/api/v1/namespaces/default/serviceaccounts/reader", ""); got != http.StatusOK {
			w.t.Fatalf("DELETE: %d", got)
		}
		if got := call(client, found[0], http.MethodGet, "/api/v1/namespaces/default/pods", ""); got != http.StatusUnauthorized {
			w.t.Errorf("the token of an account that is gone: %d", got)
		}
	})
}
