package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dlx.dev/dlx/backends/backendtest"
)

const volumeStudy = `package volume

import "dlx.dev/dlx"

_sum: string @tag(sum)

study: dlx.#Study & {
	name: "volume"
	axes: {dataset: ["files"], orchestration: ["own-network", "host-network"]}
	workload: dlx.#Command & {
		program: ["sh", "-c", "cat /data/files/a /data/files/b; ls /sys/class/net | sed 's/^/interface /'; touch /data/files/c 2>/dev/null || echo read only; echo rate 1"]
		patterns: rate: "^rate (?P<v>[0-9]+)$"
	}
	metrics: rate: {unit: "1/s", kind: "rate", better: "higher"}
	datasets: files: {path: "/data/files", checksum: _sum, bytes: 8}
}
`

// TestADatasetOnAVolumeAndTheHostsNetworkOnACluster mounts a claim with a data set into pods with
// the node's network and into others: trials find the files, which they cannot change, and each
// network is what the orchestration says. Files that are not those of the checksum are told before
// a trial begins.
func TestADatasetOnAVolumeAndTheHostsNetworkOnACluster(t *testing.T) {
	_, cfg := labCluster(t)
	if os.Getenv("DLX_TEST_LAB") == "" {
		backendtest.Skip(t, "kubernetes/real", "DLX_TEST_LAB names no lab whose nodes see the folders of this computer")
	}
	b := &detachBed{t: t, cfg: cfg, bin: staticDlx(t), namespace: fmt.Sprintf("dlx-volume-%d", time.Now().UnixNano())}
	if status, text := b.api(http.MethodPost, "/api/v1/namespaces", fmt.Sprintf(`{"metadata": {"name": %q}}`, b.namespace)); status != http.StatusCreated {
		t.Fatalf("namespace: %d %s", status, text)
	}
	folder := labVolume(b)
	files := filepath.Join(folder, "files")
	if err := os.Mkdir(files, 0o755); err != nil {
		t.Fatal(err)
	}
	list := ""
	for _, f := range [][2]string{{"a", "one\n"}, {"b", "two\n"}} {
		if err := os.WriteFile(filepath.Join(files, f[0]), []byte(f[1]), 0o600); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256([]byte(f[1]))
		list += hex.EncodeToString(sum[:]) + "  ./" + f[0] + "\n"
	}
	sum := sha256.Sum256([]byte(list))
	if status, text := b.api(http.MethodPost, "/api/v1/namespaces/"+b.namespace+"/persistentvolumeclaims", `{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}}`); status != http.StatusCreated {
		t.Fatalf("claim: %d %s", status, text)
	}
	testbed := filepath.Join(t.TempDir(), "lab.cue")
	pod := os.Getenv("DLX_TEST_POD")
	if err := os.WriteFile(testbed, fmt.Appendf(nil, `package lab

import "dlx.dev/dlx"

_pod: %s & {mounts: [{path: "/data", claim: "data"}]}

testbed: dlx.#Testbed & {
	name: "lab"
	clouds: lab: {backend: "kubernetes", kubeconfig: %q, namespace: %q}
	orchestrations: {
		"own-network": {cloud: "lab", machine: _pod, uses: hosts: 1}
		"host-network": {cloud: "lab", machine: _pod & {hostNetwork: true}, uses: hosts: 1}
	}
	capacity: hosts: 3
}
`, pod, os.Getenv("DLX_TEST_KUBECONFIG"), b.namespace), 0o600); err != nil {
		t.Fatal(err)
	}
	study := writeStudy(t, volumeStudy)
	before := settledObjects(t, cfg)

	wrong := strings.Repeat("0", 2*len(sum))
	out, _ := b.dlx(1, "run", study, "--testbed", testbed, "--dir", filepath.Join(t.TempDir(), "wrong"), "-t", "sum=sha256:"+wrong, "--progress", "none")
	if want := fmt.Sprintf("dataset files: /data/files: checksum sha256:%x, declared sha256:%s", sum, wrong); !strings.Contains(out, want) {
		t.Errorf("got %s; want it to say %q", out, want)
	}

	dir := filepath.Join(t.TempDir(), "run")
	b.dlx(0, "plan", study, "--check", "--testbed", testbed, "-t", fmt.Sprintf("sum=sha256:%x", sum))
	b.dlx(0, "run", study, "--testbed", testbed, "--dir", dir, "-t", fmt.Sprintf("sum=sha256:%x", sum), "--progress", "none")
	for network, host := range map[string]bool{"own-network": false, "host-network": true} {
		text, err := os.ReadFile(filepath.Join(dir, "logs/all/dataset=files,orchestration="+network+"/r1/worker-0/stdout"))
		if err != nil {
			t.Fatal(err)
		}
		// The lab's nodes have a link to this computer, and a bridge.
		if got := string(text); !strings.HasPrefix(got, "one\ntwo\n") || strings.Contains(got, "interface link0\n") != host || strings.Contains(got, "interface eth0\n") == host || !strings.Contains(got, "read only\n") {
			t.Errorf("%s: got\n%s", network, got)
		}
	}
	observedOnce(t, filepath.Join(dir, "journal.jsonl"), 2)
	sameObjects(t, before, clusterObjects(t, cfg))
}
