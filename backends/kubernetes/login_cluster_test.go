package kubernetes_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/kubernetes"
)

// by is a kubeconfig with another login.
func by(t *testing.T, kubeconfig []byte, login *clientcmdapi.AuthInfo) []byte {
	t.Helper()
	cfg, err := clientcmd.Load(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for name := range cfg.AuthInfos {
		cfg.AuthInfos[name] = login
	}
	text, err := clientcmd.Write(*cfg)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// account makes a service account, anew if it is there, and gives a token of it. Roles are those of its name.
func (b *bed) account(name string, again bool) string {
	b.t.Helper()
	at := "/api/v1/namespaces/" + b.ns + "/serviceaccounts"
	if again {
		b.delete(at + "/" + name)
	}
	b.api(http.MethodPost, at, `{"metadata": {"name": "`+name+`"}}`)
	var r struct{ Status struct{ Token string } }
	if err := json.Unmarshal([]byte(b.api(http.MethodPost, at+"/"+name+"/token", `{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}`)), &r); err != nil || r.Status.Token == "" {
		b.t.Fatalf("got token %q, %v", r.Status.Token, err)
	}
	return r.Status.Token
}

// answers waits until the API server answers a token in one way: it goes by copies of its own.
func (b *bed) answers(token string, want int) {
	b.t.Helper()
	cfg, err := clientcmd.RESTConfigFromKubeConfig(b.kubeconfig)
	if err != nil {
		b.t.Fatal(err)
	}
	cfg = rest.AnonymousClientConfig(cfg)
	cfg.BearerToken = token
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		req, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, cfg.Host+"/api/v1/namespaces/"+b.ns+"/configmaps", nil)
		if err != nil {
			b.t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			b.t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode == want {
			return
		}
		if time.Now().After(end) {
			b.t.Fatalf("a token is answered with %s; want %d", resp.Status, want)
		}
	}
}

func logins(t *testing.T, b *bed) {
	x := b.in("")
	role, err := json.Marshal(readRole(t, "rbac/namespace.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	at := "/apis/rbac.authorization.k8s.io/v1/namespaces/" + x.ns + "/"
	x.api(http.MethodPost, at+"roles", strings.Replace(string(role), `"metadata":{`, `"metadata":{"namespace":"`+x.ns+`",`, 1))
	var named struct{ Metadata struct{ Name string } }
	if err := json.Unmarshal(role, &named); err != nil {
		t.Fatal(err)
	}
	x.api(http.MethodPost, at+"rolebindings", `{"metadata": {"name": "bench"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "`+named.Metadata.Name+`"},
		"subjects": [{"kind": "ServiceAccount", "name": "bench", "namespace": "`+x.ns+`"}]}`)

	void, err := kubernetes.NewBackend(by(t, x.kubeconfig, &clientcmdapi.AuthInfo{Token: "s3cret"}), x.ns, kubernetes.Options{Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	defer void.Close(t.Context())
	_, err = void.Provision(t.Context(), backends.FleetRequest{Owner: backends.Owner{Run: "r", Fleet: "f"}, Ledger: &book{state: map[string]string{}},
		Machines: []backends.MachineRequest{{Name: "m0", Spec: json.RawMessage(x.spec)}}})
	if backends.ClassOf(err) != backends.Config || !strings.Contains(fmt.Sprint(err), "Unauthorized") || strings.Contains(fmt.Sprint(err), "s3cret") {
		t.Errorf("a void token: got %s: %v", backends.ClassOf(err), err)
	}

	dir := t.TempDir()
	file, plugin := filepath.Join(dir, "token"), filepath.Join(dir, "plugin")
	script := "#!/bin/sh\nprintf '{\"apiVersion\": \"client.authentication.k8s.io/v1\", \"kind\": \"ExecCredential\", \"status\": {\"token\": \"%s\"}}' \"$(cat \"${0%/*}/token\")\"\n"
	if err := os.WriteFile(plugin, []byte(script), 0o700); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	token := x.account("bench", false)
	for name, login := range map[string]*clientcmdapi.AuthInfo{
		"file":   {TokenFile: file},
		"plugin": {Exec: &clientcmdapi.ExecConfig{APIVersion: "client.authentication.k8s.io/v1", Command: plugin, InteractiveMode: clientcmdapi.NeverExecInteractiveMode}},
	} {
		t.Run(name, func(t *testing.T) {
			write := func(token string) {
				if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			x.answers(token, http.StatusOK)
			write(token)
			y := newBedIn(t, by(t, x.kubeconfig, login), x.ns, x.spec)
			m := y.fleet("f", 1)[0]
			run := func(id string) {
				t.Helper()
				if err := y.l.Start(t.Context(), backends.Single(m, backends.Process{ID: id, Args: shell("echo " + id)})); err != nil {
					t.Fatal(err)
				}
				if e, err := y.l.Wait(t.Context(), m, id+"-0"); err != nil || e.Code != 0 {
					t.Fatalf("got %+v, %v", e, err)
				}
				if got := y.output(m, id+"-0"); got != id+"\n" {
					t.Errorf("got output %q", got)
				}
			}
			run("before")
			// The token is void, and the plugin and the file have another. What is run first goes by a WebSocket.
			old := token
			token = x.account("bench", true)
			x.answers(old, http.StatusUnauthorized)
			x.answers(token, http.StatusOK)
			write(token)
			if got := y.output(m, "before-0"); got != "before\n" {
				t.Errorf("got output %q", got)
			}
			run("after")
		})
	}
}
