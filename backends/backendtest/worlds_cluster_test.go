package backendtest_test

import (
	"cmp"
	"context"
	"encoding/json"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/backendtest"
	"dlx.dev/dlx/backends/kubernetes"
)

// A real cluster is named by variables:
//
//	DLX_TEST_KUBECONFIG    path of a kubeconfig whose login may do everything
//	DLX_TEST_NAMESPACE     a namespace that is there; empty: each check makes its own, which takes longer
//	DLX_TEST_POD           JSON of a machine's spec whose image has a POSIX shell; empty: busybox
//	DLX_TEST_JOBSET        not empty: the cluster has JobSet, and every group of a check is one
//	DLX_TEST_SIMULATED_POD that of a machine on simulated nodes, see testdata/lab/kubernetes

const (
	order       = "a server that is in order does not do so on request"
	noSSH       = "pods are not reached by SSH"
	noPrograms  = "nothing runs in pods of simulated nodes"
	onSimulated = "lab.local/simulated"
)

func TestKubernetesReal(t *testing.T) {
	w := backendtest.World{Name: "kubernetes/real", Without: map[backendtest.Need]string{
		backendtest.BootFailures: order, backendtest.Refusals: order, backendtest.LostAnswers: order, backendtest.HostKeys: noSSH,
	}}
	if os.Getenv("DLX_TEST_KUBECONFIG") == "" {
		w.Skip = "DLX_TEST_KUBECONFIG names no cluster"
	}
	w.New = func(t *testing.T) *backendtest.Bed {
		bed := clusterBed(t, cmp.Or(os.Getenv("DLX_TEST_POD"), `{"image": "busybox"}`), "!"+onSimulated)
		bed.Program, bed.Programs, bed.Peers = backendtest.Shell, true, true
		bed.Bad["nosuch-image"] = changed(t, bed.Spec, func(p *kubernetes.Pod) { p.Image, p.PullPolicy = "nosuch-image", "Never" })
		return bed
	}
	backendtest.Run(t, w)
}

// TestKubernetesSimulated has a real control plane, and nodes on which nothing runs: the lab plays
// what processes would leave behind.
func TestKubernetesSimulated(t *testing.T) {
	w := backendtest.World{Name: "kubernetes/simulated", Without: map[backendtest.Need]string{
		backendtest.BootFailures: order, backendtest.Refusals: order, backendtest.LostAnswers: order, backendtest.HostKeys: noSSH,
		backendtest.Programs: noPrograms, backendtest.Peers: noPrograms,
	}}
	if os.Getenv("DLX_TEST_KUBECONFIG") == "" || os.Getenv("DLX_TEST_SIMULATED_POD") == "" {
		w.Skip = "DLX_TEST_KUBECONFIG and DLX_TEST_SIMULATED_POD name no cluster with simulated nodes"
	}
	w.New = func(t *testing.T) *backendtest.Bed {
		bed := clusterBed(t, os.Getenv("DLX_TEST_SIMULATED_POD"), onSimulated)
		bed.Program = func(p backendtest.Program) []string { return append([]string{"simulate"}, backendtest.Words(p)...) }
		bed.Bad["nosuch-claim"] = changed(t, bed.Spec, func(p *kubernetes.Pod) { p.Scratch = kubernetes.Scratch{Claim: "nosuch-claim"} })
		return bed
	}
	backendtest.Run(t, w)
}

// changed gives a spec that differs.
func changed(t *testing.T, spec json.RawMessage, change func(*kubernetes.Pod)) json.RawMessage {
	t.Helper()
	var p kubernetes.Pod
	if err := json.Unmarshal(spec, &p); err != nil {
		t.Fatal(err)
	}
	change(&p)
	out, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// clusterBed is a bed on the cluster of the variables, whose machines stand on the nodes of a selector.
func clusterBed(t *testing.T, spec, selector string) *backendtest.Bed {
	t.Helper()
	root, err := os.ReadFile(os.Getenv("DLX_TEST_KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	login, kubeconfig := newPluginLogin(t, root)
	ns := os.Getenv("DLX_TEST_NAMESPACE")
	wires := &wires{conns: map[net.Conn]bool{}}
	open := func() *backends.Backend {
		b, err := kubernetes.NewBackend(kubeconfig, ns, kubernetes.Options{Dial: wires.dial, Mend: 10 * time.Second, Log: t.Logf})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := b.Close(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
		if os.Getenv("DLX_TEST_JOBSET") != "" {
			b.Launchers["kubernetes"] = inSets{b.Launchers["kubernetes"]}
		}
		return b
	}
	return &backendtest.Bed{
		Backend: open(), Spec: json.RawMessage(spec), Machine: "pod", Reopen: open, Drop: wires.drop,
		Hosts: len(nodes(t, administrator(t, root), selector)),
		Bad:   map[string]json.RawMessage{"nosuch-field": json.RawMessage(strings.Replace(spec, `{`, `{"nosuch-field": 1, `, 1))},
		Quota: func(n int) {
			limit(t, administrator(t, root), cmp.Or(ns, "dlx-r20180319"), n)
		},
		Stranger: func(run string) func() { return squatter(t, administrator(t, root), run) },
		Revoke:   login.revoke,
		Secrets:  append(credentials(t, root), login.token),
	}
}

// inSets starts each group as a trial of its own, which makes it a JobSet.
type inSets struct{ backends.Launcher }

func (l inSets) Start(ctx context.Context, g backends.Group) error {
	if _, err := l.Launcher.(backends.Queuer).Queue(ctx, []backends.Group{g}); err != nil {
		return err
	}
	return l.Launcher.Start(ctx, g)
}

// wires are the connections to a server, so that they can be cut.
type wires struct {
	mu    sync.Mutex
	conns map[net.Conn]bool
}

func (w *wires) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.conns[c] = true
	}
	return c, err
}

func (w *wires) drop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		_ = c.Close()
	}
	clear(w.conns)
}
