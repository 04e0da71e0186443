package kubernetes_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/kubernetes"
)

// What runs on a node that is taken out of its cluster is lost, through no fault of the workload: its pods are
// removed by the cluster (which takes the collector of pods up to a minute), and the fleet can be released.
func TestALostNode(t *testing.T) {
	kubeconfig := realCluster(t)
	// Its label is not that of the other simulated nodes: tests that run beside this one count them.
	const name = "simulated-to-be-lost"
	b := newBed(t, kubeconfig, simulatedPod(t, func(p *kubernetes.Pod) {
		p.NodeSelector = map[string]string{"kubernetes.io/hostname": name}
	}))
	amounts := `{"cpu": "8", "memory": "16Gi", "pods": "10"}`
	b.api(http.MethodPost, "/api/v1/nodes", `{"metadata": {"name": "`+name+`", "annotations": {"kwok.x-k8s.io/node": "fake"}, "labels": {"kubernetes.io/hostname": "`+name+`"}},
		"spec": {"taints": [{"key": "lab.local/simulated", "value": "true", "effect": "NoSchedule"}]}, "status": {"allocatable": `+amounts+`, "capacity": `+amounts+`}}`)
	there := true
	defer func() {
		if there {
			b.delete("/api/v1/nodes/" + name)
		}
	}()
	m := b.fleet("f", 1)[0]
	if m.Host != name {
		t.Errorf("the machine is on %q", m.Host)
	}
	if err := b.l.Start(t.Context(), backends.Group{ID: "p", Machines: []backends.Machine{m}, Args: [][]string{simulated(3600)}}); err != nil {
		t.Fatal(err)
	}
	b.delete("/api/v1/nodes/" + name)
	there = false
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	e, err := b.l.Wait(ctx, m, "p-0")
	t.Logf("after %v: %v", time.Since(began), err)
	if backends.ClassOf(err) != backends.Infra {
		t.Errorf("got %+v, %s: %v", e, backends.ClassOf(err), err)
	}
	if !strings.Contains(fmt.Sprint(err), "is gone") && !strings.Contains(fmt.Sprint(err), "DeletionByPodGC") {
		t.Errorf("got %v; want it to say what the cluster did", err)
	}
	// The cluster has removed the pods by itself: the release, which may find none any more, need not tell of them.
	for what := range b.book.state {
		if strings.HasPrefix(what, "pod ") {
			b.book.state[what] = "gone"
		}
	}
}
