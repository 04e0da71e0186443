package kubernetes_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/kubernetes"
	"dlx.dev/dlx/backends/sandbox"
)

func podOfTests() string {
	if spec := os.Getenv("DLX_TEST_POD"); spec != "" {
		return spec
	}
	return `{"image": "busybox"}`
}

// sandboxCluster gives the kubeconfig of a cluster of the sandbox, which ends with the test.
func sandboxCluster(t *testing.T, faults *sandbox.Faults) []byte {
	t.Helper()
	s, err := sandbox.Start(t.Context(), sandbox.Config{State: t.TempDir(), Faults: faults})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.RemoveCluster("c")
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	kubeconfig, err := s.Cluster("c", 2)
	if err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}

// bed is a provider and its launcher, without a namespace of its own.
type bed struct {
	*backends.Backend
	t          *testing.T
	l          backends.Launcher
	kubeconfig []byte
	spec       string
	run        string
	ns         string // of a test's own, if it has made one
	book       book

	mu    sync.Mutex
	lines []string // of its log
}

// log gives what the backend has logged.
func (b *bed) log() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.lines, "\n")
}

func newBed(t *testing.T, kubeconfig []byte, spec string) *bed {
	t.Helper()
	return newBedIn(t, kubeconfig, "", spec)
}

func newBedIn(t *testing.T, kubeconfig []byte, ns, spec string) *bed {
	t.Helper()
	x := &bed{}
	b, err := kubernetes.NewBackend(kubeconfig, ns, kubernetes.Options{Log: func(format string, args ...any) {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.lines = append(x.lines, fmt.Sprintf(format, args...))
		t.Log(x.lines[len(x.lines)-1])
	}})
	if err != nil {
		t.Fatal(err)
	}
	x.Backend, x.t, x.l, x.kubeconfig, x.spec = b, t, b.Launchers["kubernetes"], kubeconfig, spec
	x.run, x.book.state = fmt.Sprintf("t%d", time.Now().UnixNano()), map[string]string{}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := b.Release(ctx, backends.Owner{Run: x.run}, &x.book); err != nil {
			t.Errorf("release: %v", err)
		}
		for what, state := range x.book.state {
			if state != "gone" {
				t.Errorf("the ledger holds %s as %s", what, state)
			}
		}
		if err := b.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return x
}

// fleet provisions machines.
func (b *bed) fleet(name string, machines int) []backends.Machine {
	b.t.Helper()
	r := backends.FleetRequest{Owner: backends.Owner{Run: b.run, Fleet: name}, Ledger: &b.book}
	for i := range machines {
		r.Machines = append(r.Machines, backends.MachineRequest{Name: fmt.Sprint("m", i), Spec: json.RawMessage(b.spec)})
	}
	ms, err := b.Provision(b.t.Context(), r)
	if err != nil {
		b.t.Fatal(err)
	}
	return ms
}

// api sends a request as the cluster's administrator.
func (b *bed) api(method, path, body string) string {
	b.t.Helper()
	return b.request(b.t.Context(), method, path, body)
}

func (b *bed) request(ctx context.Context, method, path, body string) string {
	b.t.Helper()
	cfg, err := clientcmd.RESTConfigFromKubeConfig(b.kubeconfig)
	if err != nil {
		b.t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, method, cfg.Host+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	resp, err := client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		b.t.Fatalf("%s %s: %s %v %s", method, path, resp.Status, err, text)
	}
	return string(text)
}

func shell(script string, more ...string) []string {
	return append([]string{"/bin/sh", "-c", script, "program"}, more...)
}

// book is a ledger that remembers.
type book struct {
	mu    sync.Mutex
	state map[string]string
}

func (l *book) note(o backends.Object, state string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state[o.Kind+" "+o.Name] = state
	return nil
}

// forget notes everything as gone: what the cluster has removed by itself, no release finds and tells of.
func (l *book) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for what := range l.state {
		l.state[what] = "gone"
	}
}

func (l *book) Intend(_ context.Context, _ backends.Owner, o backends.Object) error {
	return l.note(o, "intended")
}

func (l *book) Made(_ context.Context, _ backends.Owner, o backends.Object) error {
	return l.note(o, "made")
}

func (l *book) Gone(_ context.Context, _ backends.Owner, o backends.Object) error {
	return l.note(o, "gone")
}

// output is what a process has written to its standard output.
func (b *bed) output(m backends.Machine, id string) string {
	b.t.Helper()
	r, err := b.l.Open(b.t.Context(), m, id, backends.Stdout, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	defer r.Close()
	out, err := io.ReadAll(r)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(out)
}
