package backendtest_test

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
)

// A pluginLogin is a service account whose token a kubeconfig gets from a program, as from those of
// the public clouds. A token lives as long as a Secret that it is bound to.
type pluginLogin struct {
	t      *testing.T
	admin  *rest.Config
	name   string
	file   string // what the program prints
	tokens int
	token  string
}

// newPluginLogin makes the account, which may do everything, and a kubeconfig for it.
func newPluginLogin(t *testing.T, kubeconfig []byte) (*pluginLogin, []byte) {
	t.Helper()
	l := &pluginLogin{t: t, admin: administrator(t, kubeconfig), name: fmt.Sprintf("login-%d", time.Now().UnixNano()), file: filepath.Join(t.TempDir(), "credential")}
	l.post("/api/v1/namespaces/default/serviceaccounts", `{"metadata": {"name": %q}}`, l.name)
	t.Cleanup(func() { l.remove("/api/v1/namespaces/default/serviceaccounts/" + l.name) })
	const bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
	l.post(bindings, `{"metadata": {"name": %q}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
		"subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": %q}]}`, l.name, l.name)
	t.Cleanup(func() { l.remove(bindings + "/" + l.name) })
	l.renew()
	t.Cleanup(func() { l.remove(l.secret()) })
	cfg, err := clientcmd.Load(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	cfg.AuthInfos[cfg.Contexts[cfg.CurrentContext].AuthInfo] = &clientcmdapi.AuthInfo{Exec: &clientcmdapi.ExecConfig{
		APIVersion: "client.authentication.k8s.io/v1", Command: "cat", Args: []string{l.file}, InteractiveMode: clientcmdapi.NeverExecInteractiveMode,
	}}
	text, err := clientcmd.Write(*cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l, text
}

func (l *pluginLogin) secret() string {
	return fmt.Sprintf("/api/v1/namespaces/default/secrets/%s-%d", l.name, l.tokens)
}

// renew has the program print a new token.
func (l *pluginLogin) renew() {
	l.t.Helper()
	l.tokens++
	secret := fmt.Sprintf("%s-%d", l.name, l.tokens)
	l.post("/api/v1/namespaces/default/secrets", `{"metadata": {"name": %q}}`, secret)
	answer := l.post("/api/v1/namespaces/default/serviceaccounts/"+l.name+"/token",
		`{"spec": {"boundObjectRef": {"kind": "Secret", "apiVersion": "v1", "name": %q}}}`, secret)
	var request struct {
		Status struct {
			Token string `json:"token"`
		} `json:"status"`
	}
	if err := json.Unmarshal([]byte(answer[strings.IndexByte(answer, '{'):]), &request); err != nil || request.Status.Token == "" {
		l.t.Fatalf("no token: %v", err)
	}
	l.token = request.Status.Token
	text := fmt.Sprintf(`{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": %q}}`, l.token)
	if err := os.WriteFile(l.file, []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

// revoke makes the token void, which takes the server some seconds, and has the program print
// another from now on.
func (l *pluginLogin) revoke() {
	l.t.Helper()
	l.remove(l.secret())
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Second) {
		answer := l.post("/apis/authentication.k8s.io/v1/tokenreviews", `{"spec": {"token": %q}}`, l.token)
		if !strings.Contains(answer, `"authenticated":true`) {
			break
		}
		if time.Now().After(end) {
			l.t.Fatal("the token is still good a minute after its secret went")
		}
	}
	l.renew()
}

func (l *pluginLogin) post(path, format string, args ...any) string {
	l.t.Helper()
	return ask(l.t, l.admin, http.MethodPost, path, "application/json", fmt.Sprintf(format, args...))
}

func (l *pluginLogin) remove(path string) { request(l.t, l.admin, http.MethodDelete, path) }
