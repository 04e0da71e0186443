package kubernetes

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dlx.dev/dlx/backends"
)

const twoContexts = `apiVersion: v1
kind: Config
current-context: a
clusters:
- {name: one, cluster: {server: "https://one.example:6443"}}
- {name: two, cluster: {server: "https://two.example:6443", certificate-authority: ca.crt}}
users:
- {name: me, user: {token: s3cret-token}}
- {name: you, user: {tokenFile: /nowhere/token}}
contexts:
- {name: a, context: {cluster: one, user: me}}
- {name: b, context: {cluster: two, user: me, namespace: bench}}
- {name: c, context: {cluster: three, user: me}}
`

// alone keeps the settings of whoever runs the test away.
func alone(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", dir)
	return dir
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAKubeconfigIsMadeOfTheOneContext(t *testing.T) {
	dir := alone(t)
	write(t, filepath.Join(dir, "ca.crt"), "not looked at here")
	file := write(t, filepath.Join(dir, "config"), twoContexts)
	for _, c := range []struct{ context, host, not string }{{"", "https://one.example:6443", "two.example"}, {"b", "https://two.example:6443", "one.example"}} {
		out, err := load(Config{Kubeconfig: file, Context: c.context})
		if err != nil {
			t.Fatalf("context %q: %v", c.context, err)
		}
		if strings.Contains(string(out), c.not) || strings.Contains(string(out), "ca.crt") {
			t.Errorf("context %q: got\n%s", c.context, out)
		}
		cfg, secrets, err := restConfig(out, t.Logf)
		if err != nil || cfg.Host != c.host || cfg.BearerToken != "s3cret-token" || cfg.QPS != -1 || secrets[0] != "s3cret-token" {
			t.Errorf("context %q: got %v, %v", c.context, cfg, err)
		}
	}
	// The list of the environment, of which the first file counts.
	t.Setenv("KUBECONFIG", write(t, filepath.Join(dir, "first"), "current-context: b\n")+string(filepath.ListSeparator)+file)
	out, err := load(Config{})
	if err != nil || !strings.Contains(string(out), "two.example") {
		t.Errorf("KUBECONFIG: got %s, %v", out, err)
	}
}

func TestKubeconfigsThatCannotBeUsed(t *testing.T) {
	dir := alone(t)
	file := write(t, filepath.Join(dir, "config"), twoContexts)
	torn := write(t, filepath.Join(dir, "torn"), "users: [{name: me, user: {token: [s3cret-token\n")
	wrong := write(t, filepath.Join(dir, "wrong"), "users: s3cret-token\n")
	for _, c := range []struct {
		name, want string
		cfg        string
	}{
		{"no file", "no such file", `{"kubeconfig": "/nowhere/config"}`},
		{"nothing at all", "neither a kubeconfig", `{}`},
		{"no such context", `no context "z"`, fmt.Sprintf(`{"kubeconfig": %q, "context": "z"}`, file)},
		{"a context without a cluster", "three", fmt.Sprintf(`{"kubeconfig": %q, "context": "c"}`, file)},
		{"a file that is not there", "ca.crt", fmt.Sprintf(`{"kubeconfig": %q, "context": "b"}`, file)},
		{"torn", "kubeconfig", fmt.Sprintf(`{"kubeconfig": %q}`, torn)},
		{"of another shape", "kubeconfig", fmt.Sprintf(`{"kubeconfig": %q}`, wrong)},
		{"an unknown setting", `unknown field "nmespace"`, `{"nmespace": "x"}`},
		{"a namespace that is none", "no DNS label", `{"namespace": "A B"}`},
	} {
		_, err := Open(t.Context(), backends.Options{Cloud: "lab", Config: json.RawMessage(c.cfg)})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "cloud lab") || backends.ClassOf(err) != backends.Config {
			t.Errorf("%s: got %v; want %q", c.name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: a secret stands in %v", c.name, err)
		}
	}
	if _, err := NewBackend([]byte("users: s3cret-token\n"), "", Options{}); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("bytes: got %v", err)
	}
}

func TestExecPluginsAskNothing(t *testing.T) {
	cfg, _, err := restConfig([]byte(`{"apiVersion": "v1", "kind": "Config", "current-context": "a",
		"clusters": [{"name": "a", "cluster": {"server": "https://one.example"}}],
		"users": [{"name": "a", "user": {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "nosuch-plugin", "interactiveMode": "IfAvailable", "installHint": "get it there"}}}],
		"contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}]}`), t.Logf)
	if err != nil || !cfg.ExecProvider.StdinUnavailable || cfg.ExecProvider.StdinUnavailableMessage == "" {
		t.Errorf("got %v, %v", cfg, err)
	}
}
