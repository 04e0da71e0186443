package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"dlx.dev/dlx/backends/backendtest"
)

const cpusStudy = `package cpus

import "dlx.dev/dlx"

study: dlx.#Study & {
	name: "cpus"
	axes: orchestration: ["static", "shared"]
	workload: dlx.#Command & {
		program: ["sh", "-c", "echo rate 1"]
		patterns: rate: "^rate (?P<v>[0-9]+)$"
		roles: worker: {cpus: 1, memoryMiB: 64}
	}
	metrics: rate: {unit: "1/s", kind: "rate", better: "higher"}
}
`

// TestAProgramHasCPUsForItselfOnACluster asks for a whole CPU, and for memory, which makes a pod
// Guaranteed: a kubelet with the static CPU manager gives it one that nobody else gets, and the probe
// says which. Elsewhere it has a share of all.
func TestAProgramHasCPUsForItselfOnACluster(t *testing.T) {
	_, cfg := labCluster(t)
	lab := os.Getenv("DLX_TEST_LAB")
	if lab == "" || runtime.NumCPU() < 2 {
		backendtest.Skip(t, "kubernetes/real", fmt.Sprintf("DLX_TEST_LAB names no lab whose kubelets may be restarted, or the computer has only %d CPU", runtime.NumCPU()))
	}
	b := &detachBed{t: t, cfg: cfg, bin: staticDlx(t)}
	all := b.allocatable("node1")
	t.Cleanup(func() { // after what t.Setenv does
		restart(t, lab, "node3-kubelet")
		b.untilAllocatable("node3", all)
	})
	t.Setenv("LAB_STATIC", "node3")
	restart(t, lab, "node3-kubelet")
	b.untilAllocatable("node3", fmt.Sprint(runtime.NumCPU()-1))

	testbed, pod := filepath.Join(t.TempDir(), "lab.cue"), os.Getenv("DLX_TEST_POD")
	if err := os.WriteFile(testbed, fmt.Appendf(nil, `package lab

import "dlx.dev/dlx"

testbed: dlx.#Testbed & {
	name: "lab"
	clouds: lab: {backend: "kubernetes", kubeconfig: %q}
	orchestrations: {
		static: {cloud: "lab", machine: %s & {nodeSelector: "kubernetes.io/hostname": "node3"}, uses: hosts: 1}
		shared: {cloud: "lab", machine: %s & {nodeSelector: "kubernetes.io/hostname": "node1"}, uses: hosts: 1}
	}
	capacity: hosts: 3
}
`, os.Getenv("DLX_TEST_KUBECONFIG"), pod, pod), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "run")
	b.dlx(0, "run", writeStudy(t, cpusStudy), "--testbed", testbed, "--dir", dir, "--progress", "none")
	for orchestration, many := range map[string]bool{"static": false, "shared": true} {
		text, err := os.ReadFile(filepath.Join(dir, "logs/all/orchestration="+orchestration+"/r1/worker-0/probe"))
		if err != nil {
			t.Fatal(err)
		}
		allowed := ""
		for line := range strings.Lines(string(text)) {
			if v, ok := strings.CutPrefix(line, "cpu.allowed="); ok {
				allowed = strings.TrimSpace(v)
			}
		}
		if strings.ContainsAny(allowed, "-,") != many || allowed == "" || allowed == "0" {
			t.Errorf("%s: may run on CPUs %q", orchestration, allowed)
		}
	}
}

// allocatable is how many CPUs a node gives to pods.
func (b *detachBed) allocatable(node string) string {
	b.t.Helper()
	var n struct {
		Status struct{ Allocatable struct{ CPU string } }
	}
	_, text := b.api(http.MethodGet, "/api/v1/nodes/"+node, "")
	if err := json.Unmarshal(text, &n); err != nil {
		b.t.Fatal(err)
	}
	return n.Status.Allocatable.CPU
}

func (b *detachBed) untilAllocatable(node, want string) {
	b.t.Helper()
	for began := time.Now(); b.allocatable(node) != want; {
		if time.Since(began) > time.Minute {
			b.t.Fatalf("node %s gives %s CPUs; want %s", node, b.allocatable(node), want)
		}
		time.Sleep(300 * time.Millisecond) // between two questions to a real server
	}
}
