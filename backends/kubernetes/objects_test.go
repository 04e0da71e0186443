package kubernetes

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/internal/supervisor"
)

var update = flag.Bool("update", false, "rewrite goldens")

// What the API is asked for, as files to read.
func TestObjects(t *testing.T) {
	const golden = "testdata/objects.txtar"
	owner := backends.Owner{Run: "r20180319", Fleet: "gpu-1"}
	until := time.Date(2018, 3, 20, 12, 0, 0, 0, time.UTC)
	machine := func(name, node, pod string, hosts backends.Hosts) backends.Machine {
		return backends.Machine{Name: name, Access: backends.Access{Kubernetes: &backends.Kubernetes{
			Namespace: "bench", Owner: owner, Hosts: hosts, Node: node, Pod: json.RawMessage(pod)}}}
	}
	spots := func(ms ...backends.Machine) []*spot {
		var out []*spot
		for _, m := range ms {
			s, err := spotOf(m)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, s)
		}
		return out
	}
	jobOf := func(g backends.Group) any {
		var folders []string
		for i := range g.Machines {
			f, err := supervisor.Folder(backends.ProcessID(g.ID, i))
			if err != nil {
				t.Fatal(err)
			}
			folders = append(folders, f)
		}
		return job(&g, spots(g.Machines...), folders)
	}
	const plain = `{"image": "tf:1.8"}`
	const full = `{"image": "registry.lab/tf:1.8", "pullPolicy": "Always", "pullSecret": "registry", "nodeSelector": {"gpu": "p100"},
		"tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}], "serviceAccount": "bench", "runtimeClass": "nvidia",
		"hostNetwork": true, "gpu": "amd.com/gpu", "scratch": {"claim": "scratch"}}`
	up := ownerMap(owner, until)
	up.UID = types.UID("5a6e6462-6f78-4000-8000-000000000001")
	m0, m1 := machine("m0", "node-a", plain, backends.AnyHosts), machine("m1", "node-b", plain, backends.AnyHosts)
	claiming := backends.Group{ID: "worker", Machines: []backends.Machine{machine("m0", "node-a", `{"image": "tf:1.8", "deviceClass": "gpu.nvidia.com"}`, backends.AnyHosts)}, Args: [][]string{{"a"}}, GPUs: 2}
	svc := service(owner, until)
	svc.ObjectMeta = owned(svc.ObjectMeta, up)
	a := &txtar.Archive{Comment: []byte("What dlx asks the API server for. Rewritten by: make golden\n")}
	for _, f := range []struct {
		name string
		obj  any
	}{
		{"owner.json", up},
		{"service.json", svc},
		{"holder.json", holderPod(spots(machine("m0", "", plain, backends.DifferentHosts))[0], until)},
		{"holder-full.json", holderPod(spots(machine("m0", "", full, backends.SameHost))[0], until)},
		{"holder-user.json", holderPod(spots(machine("m0", "", `{"image": "tf:1.8", "user": 1000, "scratch": {"claim": "scratch"}}`, backends.AnyHosts))[0], until)},
		{"job-one-node.json", jobOf(backends.Group{ID: "single/model=alexnet/r1/worker", Machines: []backends.Machine{m0}, Args: [][]string{{"python", "train.py", "it's", "$HOME"}},
			Env: map[string]string{"A": "1"}, Timeout: time.Hour, CPUs: 4, GPUs: 1, MemoryMiB: 1024})},
		{"job-queue.json", jobOf(backends.Group{ID: "worker", Machines: []backends.Machine{machine("m0", "node-a", `{"image": "tf:1.8", "queue": "bench"}`, backends.AnyHosts)}, Args: [][]string{{"a"}}})},
		{"job-devices.json", jobOf(claiming)},
		{"claims.json", claimTemplate(spots(claiming.Machines[0])[0], &claiming)},
		{"job-two-nodes.json", jobOf(backends.Group{ID: "ps", Machines: []backends.Machine{m0, m1, m0}, Args: [][]string{{"a"}, {"b"}, {"c"}}})},
	} {
		data, err := json.MarshalIndent(f.obj, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		a.Files = append(a.Files, txtar.File{Name: f.name, Data: append(data, '\n')})
	}
	got := bytes.ReplaceAll(txtar.Format(a), []byte(supervisorSum()), []byte("SUPERVISOR")) // each edit of the script changes it
	if *update {
		if err := os.WriteFile(golden, got, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("(-want +got; rewrite with -update):\n%s", diff)
	}
}

func TestPlaceIsAPatchThatTakesTheGateAway(t *testing.T) {
	got, err := place("node-a", []corev1.PodSchedulingGate{{Name: gateName}})
	const want = `{"spec":{"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchFields":[{"key":"metadata.name","operator":"In","values":["node-a"]}]}]}}},"schedulingGates":null}}`
	if err != nil || got != want {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
}

func TestPodsAreChecked(t *testing.T) {
	for raw, want := range map[string]string{
		`{}`:                                 "image is missing",
		`{"image": "x", "imagee": "y"}`:      `unknown field "imagee"`,
		`{"image": "x", "pullPolicy": "no"}`: `unknown "no" (known: Always, IfNotPresent, Never)`,
		`{"image": "x", "scratch": {"hostPath": "/a", "claim": "b"}}`: "exclude each other",
		`{"image": "x", "scratch": {"hostPath": "a"}}`:                "no absolute path",
		`{"image": "x", "gpu": "a", "deviceClass": "b"}`:              "exclude each other",
		`{"image": "x", "user": 1000}`:                                "only root may write",
		`{"image": "x", "user": -1}`:                                  "is no user",
		`{"image": "x"} {}`:                                           "more than one",
	} {
		_, err := spotOf(backends.Machine{Name: "m0", Access: backends.Access{Kubernetes: &backends.Kubernetes{
			Namespace: "bench", Owner: backends.Owner{Run: "r", Fleet: "f"}, Pod: json.RawMessage(raw)}}})
		if err == nil || !bytes.Contains([]byte(err.Error()), []byte(want)) || backends.ClassOf(err) != backends.Config {
			t.Errorf("%s: got %v; want %q", raw, err, want)
		}
	}
}
