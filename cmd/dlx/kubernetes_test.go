package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"dlx.dev/dlx/backends/backendtest"
)

// A real cluster is named by the variables that package backendtest describes. What is sent onto
// its machines is a dlx without shared libraries: an image need not have any.

// labCluster returns the path of a testbed "lab" on the cluster, and a way to the cluster.
func labCluster(t *testing.T) (testbed string, cfg *rest.Config) {
	t.Helper()
	kubeconfig := os.Getenv("DLX_TEST_KUBECONFIG")
	if kubeconfig == "" {
		backendtest.Skip(t, "kubernetes/real", "DLX_TEST_KUBECONFIG names no cluster")
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	pod := os.Getenv("DLX_TEST_POD")
	if pod == "" {
		pod = `{"image": "busybox"}`
	}
	testbed = filepath.Join(t.TempDir(), "lab.cue")
	text := fmt.Sprintf(`package lab

import "dlx.dev/dlx"

testbed: dlx.#Testbed & {
	name: "lab"
	clouds: lab: {backend: "kubernetes", kubeconfig: %q}
	orchestrations: "container-on-bm": {cloud: "lab", machine: %s & {gpu: "lab.local/gpu"}, uses: hosts: 1}
	capacity: hosts: 3
}
`, kubeconfig, pod)
	if err := os.WriteFile(testbed, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return testbed, cfg
}

// staticDlx builds dlx without shared libraries.
func staticDlx(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "dlx")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", bin, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return bin
}

// TestContainerCellsOfTheFoundingStudyOnACluster runs them as pods: a parameter server and its
// workers find each other by name on nodes of their own, and shared trials share a node.
func TestContainerCellsOfTheFoundingStudyOnACluster(t *testing.T) {
	testbed, cfg := labCluster(t)
	before := settledObjects(t, cfg)
	dir := filepath.Join(t.TempDir(), "run")
	cmd := exec.CommandContext(t.Context(), staticDlx(t), "run", founding, "--testbed", testbed, "--only", "orchestration=container-on-bm",
		"--repeats", "1", "--progress", "plain", "--dir", dir)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "20 trials: 20 done") {
		t.Fatalf("%v\n%s", err, out)
	}
	probes := 0
	err = filepath.WalkDir(filepath.Join(dir, "logs"), func(path string, _ os.DirEntry, err error) error {
		if err != nil || filepath.Base(path) != "probe" {
			return err
		}
		probes++
		b, err := os.ReadFile(path)
		if !strings.Contains(string(b), "\ncontainer=pod\n") {
			t.Errorf("%s: not in a pod:\n%s", path, b)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if probes < 20+6*2 { // each distributed cell has two processes more
		t.Errorf("%d processes left a probe", probes)
	}
	journal := filepath.Join(dir, "journal.jsonl")
	observedOnce(t, journal, 20)
	if text, err := os.ReadFile(journal); err != nil || strings.Contains(string(text), `"jobSet":"true"`) != inJobSets() {
		t.Errorf("the journal says of JobSets other than that the cluster has them, %v: %v", inJobSets(), err)
	}
	sameObjects(t, before, clusterObjects(t, cfg))
}

// inJobSets reports whether the cluster has JobSet.
func inJobSets() bool { return os.Getenv("DLX_TEST_JOBSET") != "" }

const killStudyOnCluster = `package tiny

import "dlx.dev/dlx"

study: dlx.#Study & {
	name: "tiny"
	axes: {n: [1, 2, 3], orchestration: ["container-on-bm"]}
	repeats: 2
	workload: dlx.#Command & {
		program: ["sh", "-c", "sleep 1; echo rate {n}"]
		patterns: throughput: "^rate (?P<v>[0-9]+)$"
		roles: worker: {count: 2, cpus: 1, gpus: 1}
	}
	metrics: throughput: dlx.#Throughput
}
`

// TestARunSurvivesKillsOnACluster kills dlx at random moments of runs on a cluster, see [survivesKills].
func TestARunSurvivesKillsOnACluster(t *testing.T) {
	testbed, cfg := labCluster(t)
	survivesKills(t, killing{
		bin: staticDlx(t), args: []string{"run", writeStudy(t, killStudyOnCluster), "--testbed", testbed, "--progress", "plain"},
		trials: 6, seconds: 20, objects: func() []string { return clusterObjects(t, cfg) },
	})
}

// TestARunOutlastsRestartsOnACluster kills the API server twice and a kubelet once while trials
// run, and starts them again. DLX_TEST_LAB is the folder of the lab's scripts.
func TestARunOutlastsRestartsOnACluster(t *testing.T) {
	testbed, cfg := labCluster(t)
	lab := os.Getenv("DLX_TEST_LAB")
	if lab == "" {
		backendtest.Skip(t, "kubernetes/real", "DLX_TEST_LAB names no lab whose servers may be killed")
	}
	before := settledObjects(t, cfg)
	dir := filepath.Join(t.TempDir(), "run")
	study := writeStudy(t, strings.Replace(killStudyOnCluster, "sleep 1;", "sleep 4;", 1))
	cmd := exec.CommandContext(t.Context(), staticDlx(t), "run", study, "--testbed", testbed, "--progress", "plain", "--dir", dir)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kube-apiserver", "node2-kubelet", "kube-apiserver"} {
		time.Sleep(7 * time.Second) // the servers' time, which no test can bend
		restart(t, lab, name)
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), "6 trials: 6 done") {
		t.Fatalf("%v\n%s", err, out.String())
	}
	t.Log(out.String())
	observedOnce(t, filepath.Join(dir, "journal.jsonl"), 6)
	sameObjects(t, before, clusterObjects(t, cfg))
}

// restart kills a server of the lab and starts it again.
func restart(t *testing.T, lab, name string) {
	t.Helper()
	const script = `. "$1/env.sh"; kill -9 "$(cat "$run/pid/$2")"; exec "$1/start.sh"`
	if out, err := exec.CommandContext(context.WithoutCancel(t.Context()), "bash", "-ec", script, "restart", lab, name).CombinedOutput(); err != nil {
		t.Fatalf("restart %s: %v\n%s", name, err, out)
	}
}

func writeStudy(t *testing.T, text string) string {
	t.Helper()
	study := filepath.Join(t.TempDir(), "study")
	if err := os.MkdirAll(study, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(study, "study.cue"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return study
}

// clusterObjects lists what dlx could leave on a cluster.
func clusterObjects(t *testing.T, cfg *rest.Config) []string {
	t.Helper()
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	kinds := []string{
		"/api/v1/namespaces", "/api/v1/pods", "/api/v1/services", "/apis/batch/v1/jobs", "/api/v1/serviceaccounts", "/api/v1/secrets",
		"/apis/rbac.authorization.k8s.io/v1/roles", "/apis/rbac.authorization.k8s.io/v1/rolebindings", "/api/v1/persistentvolumeclaims",
	}
	if inJobSets() {
		kinds = append(kinds, "/apis/jobset.x-k8s.io/v1alpha2/jobsets")
	}
	for _, path := range kinds {
		for _, o := range objectsAt(t, cfg, client, path) {
			out = append(out, path+" "+o.Metadata.Namespace+"/"+o.Metadata.Name)
		}
	}
	slices.Sort(out)
	return out
}

type clusterObject struct {
	Metadata struct{ Namespace, Name string }
	Status   struct{ Phase string }
}

// objectsAt gives the objects at a path of the API.
func objectsAt(t *testing.T, cfg *rest.Config, client *http.Client, path string) []clusterObject {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, cfg.Host+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v", path, resp.Status, err)
	}
	var list struct{ Items []clusterObject }
	if err := json.Unmarshal(b, &list); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// settledObjects gives what a cluster holds when no namespace of an earlier test is going any more, and each has
// the account that the cluster makes in it a moment later.
func settledObjects(t *testing.T, cfg *rest.Config) []string {
	t.Helper()
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	unsettled := func() bool {
		accounts := objectsAt(t, cfg, client, "/api/v1/serviceaccounts")
		return slices.ContainsFunc(objectsAt(t, cfg, client, "/api/v1/namespaces"), func(ns clusterObject) bool {
			return ns.Status.Phase == "Terminating" || !slices.ContainsFunc(accounts, func(a clusterObject) bool {
				return a.Metadata.Namespace == ns.Metadata.Name && a.Metadata.Name == "default"
			})
		})
	}
	for began := time.Now(); unsettled(); time.Sleep(200 * time.Millisecond) {
		if time.Since(began) > 3*time.Minute {
			t.Fatal("a namespace of an earlier test does not go, or one has no default account")
		}
	}
	return clusterObjects(t, cfg)
}
