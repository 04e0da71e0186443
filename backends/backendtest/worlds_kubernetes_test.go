package backendtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/backendtest"
	"dlx.dev/dlx/backends/kubernetes"
	"dlx.dev/dlx/backends/pipenet"
	"dlx.dev/dlx/backends/sandbox"
)

const noLogin = "a kubeconfig's certificate and token are not renewed"

// withoutInPods is what pods of the sandbox are without on this computer.
func withoutInPods(t *testing.T) map[backendtest.Need]string {
	t.Helper()
	out := map[backendtest.Need]string{backendtest.Login: noLogin, backendtest.HostKeys: "pods are not reached by SSH"}
	if err := sandbox.TryNamespaces(t.TempDir()); err != nil {
		out[backendtest.Peers] = "without namespaces pods have no /etc/hosts of their own: " + err.Error()
	}
	return out
}

// The same client code and the same cluster, once without sockets and with a slow API, once over
// loopback.

func TestKubernetesVirtual(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, backendtest.World{
		Name: "kubernetes/virtual", Virtual: true,
		Without: withoutInPods(t),
		New: func(t *testing.T) *backendtest.Bed {
			w := &kubeWorld{t: t, net: &pipenet.Network{}}
			w.cfg = sandbox.Config{State: t.TempDir(), Latency: 2 * time.Second, Port: 22, Listen: w.net.Listen, Kube: sandbox.KubeConfig{Pace: 5 * time.Second}}
			return w.bed()
		},
	})
}

func TestKubernetesLoopback(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, backendtest.World{
		Name:    "kubernetes/loopback",
		Without: withoutInPods(t),
		New: func(t *testing.T) *backendtest.Bed {
			w := &kubeWorld{t: t, cfg: sandbox.Config{State: t.TempDir()}}
			return w.bed()
		},
	})
}

// kubeWorld is a sandbox with a cluster of two nodes and a provider over it.
type kubeWorld struct {
	t   *testing.T
	cfg sandbox.Config
	net *pipenet.Network // nil: loopback

	cloud      *sandbox.Server
	kubeconfig []byte
	backend    *backends.Backend
}

const pod = `{"image": "sandbox"}`

func (w *kubeWorld) bed() *backendtest.Bed {
	w.cfg.Faults = &sandbox.Faults{}
	w.open()
	w.t.Cleanup(w.close)
	const create = "POST /api/v1/namespaces/*/pods"
	secrets := credentials(w.t, w.kubeconfig)
	refuse := func(status int, reason string, times int, header ...string) {
		body, err := json.Marshal(map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "message": reason})
		if err != nil {
			w.t.Fatal(err)
		}
		w.cfg.Faults.Fail(create, status, string(body), times, header...)
	}
	return &backendtest.Bed{
		Backend: w.backend, Spec: json.RawMessage(pod), Machine: "pod", Program: backendtest.Shell, Programs: true, Hosts: 2, Peers: netcat() && sandbox.TryNamespaces(w.t.TempDir()) == nil,
		Bad: map[string]json.RawMessage{
			"nosuch-image": json.RawMessage(`{"image": "nosuch-image"}`),
			"nosuch-field": json.RawMessage(`{"image": "sandbox", "nosuch-field": 1}`),
			"nosuch-label": json.RawMessage(`{"image": "sandbox", "nodeSelector": {"a": "nosuch-label"}}`),
		},
		Reopen: func() *backends.Backend { w.close(); w.open(); return w.backend },
		Left:   w.left,
		Fail: func(_, reason string) {
			if strings.HasPrefix(reason, "No valid host") { // a scheduler has its own words for it
				cordon(w.t, w.rest())
				return
			}
			refuse(http.StatusInternalServerError, reason, 1)
		},
		Quota: func(n int) { limit(w.t, w.rest(), "dlx-r20180319", n) },
		Refuse: func(status, after, times int) {
			var header []string
			if after >= 0 {
				header = []string{"Retry-After", strconv.Itoa(after)}
			}
			refuse(status, "the server is busy "+strings.Join(secrets, " "), times, header...)
		},
		HangUp:   func() { w.cfg.Faults.HangUp(create, 1) },
		Drop:     func() { w.cloud.DropKubernetes() },
		Stranger: func(run string) func() { return squatter(w.t, w.rest(), run) },
		Secrets:  secrets,
	}
}

func (w *kubeWorld) open() {
	w.t.Helper()
	cfg := w.cfg
	var dial func(context.Context, string, string) (net.Conn, error)
	if w.net != nil {
		var err error
		if cfg.Listener, err = w.net.Listen("api:80"); err != nil {
			w.t.Fatal(err)
		}
		dial = w.net.DialContext
	}
	s, err := sandbox.Start(w.t.Context(), cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	kubeconfig, err := s.Cluster("c", 2)
	if err != nil {
		w.t.Fatal(errors.Join(err, s.Close()))
	}
	o := kubernetes.Options{Dial: dial, Mend: 5 * time.Second, Log: w.t.Logf}
	if w.net != nil { // hours of the virtual clock are seconds of the processes'
		o.Patience, o.Boot = time.Hour, 24*time.Hour
	}
	b, err := kubernetes.NewBackend(kubeconfig, "", o)
	if err != nil {
		w.t.Fatal(errors.Join(err, s.Close()))
	}
	w.cloud, w.kubeconfig, w.backend = s, kubeconfig, b
}

func (w *kubeWorld) close() {
	if w.cloud == nil {
		return
	}
	if err := errors.Join(w.backend.Close(context.WithoutCancel(w.t.Context())), w.cloud.Close()); err != nil {
		w.t.Error(err)
	}
	w.cloud = nil
}

// left removes the cluster, which is not the provider's, and lists processes.
func (w *kubeWorld) left() []string {
	w.cloud.RemoveCluster("c")
	if w.net != nil {
		time.Sleep(time.Hour) // cleaning takes its time
	}
	var out []string
	for _, p := range w.cloud.Processes() {
		out = append(out, fmt.Sprint("process ", p))
	}
	for _, g := range w.cloud.Groups() {
		out = append(out, "control group "+g)
	}
	return out
}

// rest is a way to the cluster besides the provider's, for what its administrator does.
func (w *kubeWorld) rest() *rest.Config {
	cfg := administrator(w.t, w.kubeconfig)
	if w.net != nil {
		cfg.Dial = w.net.DialContext
	}
	return cfg
}

// squatter makes a namespace with the name of a run's, and something in it.
func squatter(t *testing.T, cfg *rest.Config, run string) (remove func()) {
	t.Helper()
	const json = types.PatchType("application/json")
	ask(t, cfg, http.MethodPost, "/api/v1/namespaces", json, `{"metadata": {"name": "dlx-`+run+`-a"}}`)
	ask(t, cfg, http.MethodPost, "/api/v1/namespaces/dlx-"+run+"-a/configmaps", json, `{"metadata": {"name": "dlx-`+run+`", "labels": {"dlx.dev/run": "`+run+`-a"}}}`)
	return func() { ask(t, cfg, http.MethodDelete, "/api/v1/namespaces/dlx-"+run+"-a", json, "{}") }
}

// credentials gives the texts of a kubeconfig that are secret.
func credentials(t *testing.T, kubeconfig []byte) []string {
	t.Helper()
	cfg := administrator(t, kubeconfig)
	var out []string
	for _, s := range []string{cfg.BearerToken, cfg.Password, string(cfg.KeyData)} {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}

func administrator(t *testing.T, kubeconfig []byte) *rest.Config {
	t.Helper()
	cfg, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Proxy = http.ProxyFromEnvironment // keeps the connection out of client-go's cache
	return cfg
}

// ask sends a request as the cluster's administrator.
func ask(t *testing.T, cfg *rest.Config, method, path string, kind types.PatchType, body string) string {
	t.Helper()
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), method, cfg.Host+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", string(kind))
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b strings.Builder
	if err := resp.Write(&b); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode >= 300 && resp.StatusCode != http.StatusConflict {
		t.Fatalf("%s %s: %s", method, path, b.String())
	}
	_, out, _ := strings.Cut(b.String(), "\r\n\r\n")
	return out
}

// limit sets how many pods there may be in a namespace, which is made if it is not there.
func limit(t *testing.T, cfg *rest.Config, ns string, pods int) {
	t.Helper()
	ask(t, cfg, http.MethodPost, "/api/v1/namespaces", "application/json", `{"metadata": {"name": "`+ns+`", "labels": {"app.kubernetes.io/managed-by": "dlx"}}}`)
	at := "/api/v1/namespaces/" + ns + "/resourcequotas"
	ask(t, cfg, http.MethodPost, at, "application/json", fmt.Sprintf(`{"metadata": {"name": "few"}, "spec": {"hard": {"pods": "%d"}}}`, pods))
	t.Cleanup(func() { request(t, cfg, http.MethodDelete, at+"/few") })
}

// request sends a request, also when the test has ended, and does not look at the answer.
func request(t *testing.T, cfg *rest.Config, method, path string) {
	t.Helper()
	client, err := rest.HTTPClientFor(rest.CopyConfig(cfg))
	if err != nil {
		return
	}
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), method, cfg.Host+path, http.NoBody)
	if err != nil {
		return
	}
	if resp, err := client.Do(r); err == nil {
		resp.Body.Close()
	}
}

// netcat reports whether programs of this computer can try a connection.
func netcat() bool {
	for _, tool := range []string{"nc", "busybox"} {
		if _, err := exec.LookPath(tool); err == nil {
			return true
		}
	}
	return false
}

// cordon lets no node take another pod.
func cordon(t *testing.T, cfg *rest.Config) {
	t.Helper()
	for _, n := range nodes(t, cfg, "") {
		ask(t, cfg, http.MethodPatch, "/api/v1/nodes/"+n, types.MergePatchType, `{"spec": {"unschedulable": true}}`)
	}
}

// nodes gives the names of the nodes that a selector of labels picks; empty: all.
func nodes(t *testing.T, cfg *rest.Config, selector string) []string {
	t.Helper()
	var list struct {
		Items []struct {
			Metadata struct {
				Name string `json:"name"`
			} `json:"metadata"`
		} `json:"items"`
	}
	text := ask(t, cfg, http.MethodGet, "/api/v1/nodes?labelSelector="+url.QueryEscape(selector), "application/json", "")
	if err := json.NewDecoder(strings.NewReader(text[strings.IndexByte(text, '{'):])).Decode(&list); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, n := range list.Items {
		out = append(out, n.Metadata.Name)
	}
	return out
}
