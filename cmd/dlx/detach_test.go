package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"dlx.dev/dlx/backends/backendtest"
)

const detachStudy = `package tiny

import "dlx.dev/dlx"

study: dlx.#Study & {
	name: "tiny"
	axes: {model: ["resnet50", "alexnet"], dataset: ["synthetic"], orchestration: ["container-on-bm"]}
	workload: dlx.#CNNBench & {flags: {num_batches: 10, num_warmup_batches: 2}}
	repeats: 3
	metrics: {throughput: dlx.#Throughput, elapsed: dlx.#Elapsed}
}
`

// detachBed is a cluster, a study, and a dlx for both.
type detachBed struct {
	t         *testing.T
	cfg       *rest.Config
	bin       string
	dir       string
	namespace string
	args      []string // of dlx run
}

// dlx runs the command and checks its exit code.
func (b *detachBed) dlx(want int, args ...string) (stdout, stderr string) {
	b.t.Helper()
	cmd := exec.CommandContext(b.t.Context(), b.bin, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run()
	if got := cmd.ProcessState.ExitCode(); got != want {
		b.t.Fatalf("dlx %s: exit code %d; want %d\n%s%s", strings.Join(args, " "), got, want, out.String(), errs.String())
	}
	return out.String(), errs.String()
}

// api sends a request as the cluster's administrator.
func (b *detachBed) api(method, path, body string) (status int, text []byte) {
	b.t.Helper()
	client, err := rest.HTTPClientFor(b.cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(context.WithoutCancel(b.t.Context()), method, b.cfg.Host+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err = io.ReadAll(resp.Body); err != nil {
		b.t.Fatal(err)
	}
	return resp.StatusCode, text
}

// status is that of the run, as scripts read it.
func (b *detachBed) status() (doc statusDoc) {
	b.t.Helper()
	out, _ := b.dlx(0, "status", b.dir, "--output", "json")
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		b.t.Fatalf("%v\n%s", err, out)
	}
	if doc.Detached == nil {
		b.t.Fatalf("not detached:\n%s", out)
	}
	return doc
}

// until waits for the run to come to something, which takes seconds.
func (b *detachBed) until(what string, yes func(statusDoc) bool) statusDoc {
	b.t.Helper()
	for began := time.Now(); ; {
		d := b.status()
		if yes(d) {
			return d
		}
		if d.Detached.State == "ended" || time.Since(began) > 4*time.Minute {
			b.t.Fatalf("not %s: %d of %d trials are done, the run %s", what, d.Done, d.Trials, d.Detached.Text)
		}
		time.Sleep(300 * time.Millisecond) // between two questions to a real server
	}
}

// pod is that of dlx.
func (b *detachBed) pod() string {
	b.t.Helper()
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Status   struct{ Phase string }
		}
	}
	_, text := b.api(http.MethodGet, "/api/v1/namespaces/"+b.namespace+"/pods?labelSelector=app.kubernetes.io/managed-by%3Ddlx-detach", "")
	if err := json.Unmarshal(text, &list); err != nil {
		b.t.Fatal(err)
	}
	for _, p := range list.Items {
		if p.Status.Phase == "Running" {
			return p.Metadata.Name
		}
	}
	b.t.Fatalf("no pod of dlx runs: %s", text)
	return ""
}

// TestADetachedRunOnACluster hands a study to the cluster and lets go of it. dlx is killed there
// once and evicted once; every trial counts once all the same. Nothing is removed before it is
// fetched, and then all of it. The login has the rights of rbac/namespace.yaml and rbac/detach.yaml.
func TestADetachedRunOnACluster(t *testing.T) {
	_, cfg := labCluster(t)
	if os.Getenv("DLX_TEST_LAB") == "" {
		backendtest.Skip(t, "kubernetes/real", "DLX_TEST_LAB names no lab whose processes may be killed")
	}
	b := &detachBed{t: t, cfg: cfg, bin: staticDlx(t), dir: filepath.Join(t.TempDir(), "run"), namespace: fmt.Sprintf("dlx-detached-%d", time.Now().UnixNano())}
	t.Setenv("DLX_TEST_KUBECONFIG", b.login())
	testbed, _ := labCluster(t)
	b.args = []string{"run", writeStudy(t, detachStudy), "--testbed", testbed, "--dir", b.dir}
	away := append(slices.Clone(b.args), "--detach", "--namespace", b.namespace)
	labVolume(b)
	before := settledObjects(t, cfg)

	out, _ := b.dlx(0, away...)
	run := b.status().Run
	if !strings.HasPrefix(out, "run "+run+" goes on in cloud lab, namespace "+b.namespace) {
		t.Errorf("got %s", out)
	}
	onlyTheRoleOfDlx(b, "dlx-"+run)

	// Once is enough, and not here.
	if out, _ = b.dlx(0, away...); !strings.Contains(out, run+" goes on already in ") {
		t.Errorf("a second time: %s", out)
	}
	if _, errs := b.dlx(3, b.args...); !strings.Contains(errs, "its run is detached, in cloud lab, namespace "+b.namespace) {
		t.Errorf("here as well: %s", errs)
	}
	if _, errs := b.dlx(3, "gc", b.dir); !strings.Contains(errs, "or end it now by --force") {
		t.Errorf("gc meanwhile: %s", errs)
	}

	// Killed, as by the kernel, and evicted, as from a node that is drained.
	b.until("begun", func(d statusDoc) bool { return d.Done > 0 })
	killInside(t, run)
	d := b.until("taken up after a kill", func(d statusDoc) bool { return d.Done > 1 && d.Running })
	if !strings.Contains(d.Detached.Text, "its pod ended early 1 time") {
		t.Errorf("after a kill: %s", d.Detached.Text)
	}
	b.dlx(0, "fetch", b.dir)
	pod := b.pod()
	status, text := b.api(http.MethodPost, "/api/v1/namespaces/"+b.namespace+"/pods/"+pod+"/eviction",
		fmt.Sprintf(`{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": %q}}`, pod))
	if status != http.StatusCreated {
		t.Fatalf("eviction: %d %s", status, text)
	}

	for d = b.status(); d.Detached.State != "ended"; d = b.status() {
		time.Sleep(300 * time.Millisecond) // between two questions to a real server
	}
	if _, errs := b.dlx(3, "gc", b.dir); !strings.Contains(errs, "was not fetched") {
		t.Errorf("gc before all is fetched: %s", errs)
	}
	if out, _ = b.dlx(0, "fetch", b.dir); !strings.HasPrefix(out, "6 of 6 trials done; ") || !strings.Contains(out, "the run has ended") {
		t.Errorf("fetch: %s", out)
	}
	journal := filepath.Join(b.dir, "journal.jsonl")
	observedOnce(t, journal, 6)
	whole(t, b.dir)
	if b, err := os.ReadFile(journal); err != nil || bytes.Count(b, []byte(`"kind":"opened"`)) != 3 {
		t.Errorf("%d processes took the run up (%v)", bytes.Count(b, []byte(`"kind":"opened"`)), err)
	}
	for _, metric := range []string{"throughput", "elapsed"} {
		if b, err := os.ReadFile(filepath.Join(b.dir, "results", "observations.csv")); err != nil || bytes.Count(b, []byte(","+metric+",")) != 6 {
			t.Errorf("%s: %v\n%s", metric, err, b)
		}
	}
	// Whoever has lost the folder makes it again.
	again := filepath.Join(t.TempDir(), "again")
	b.dlx(0, "fetch", "--testbed", testbed, "--namespace", b.namespace, "--run", run, again)
	whole(t, again)
	sameFiles(t, filepath.Join(again, "logs"), filepath.Join(b.dir, "logs"))
	sum, err := prefix(journal, fileSize(t, journal))
	if copied := filepath.Join(again, "journal.jsonl"); err != nil {
		t.Error(err)
	} else if got, err := prefix(copied, fileSize(t, copied)); err != nil || got != sum {
		t.Errorf("the journal of the folder that was made again is another (%v)", err)
	}
	if out, _ = b.dlx(0, "gc", b.dir); !strings.Contains(out, "detached run") {
		t.Errorf("gc: %s", out)
	}
	sameObjects(t, before, clusterObjects(t, cfg))
	// The run is at home again.
	if out, _ = b.dlx(0, append(b.args, "--progress", "none")...); !strings.HasPrefix(out, "6 trials: 6 done, 6 of them before") {
		t.Errorf("at home: %s", out)
	}
}

func fileSize(t *testing.T, file string) int64 {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// login makes a namespace and a kubeconfig for who has in it the rights that are written down, and
// no others.
func (b *detachBed) login() string {
	b.t.Helper()
	must := func(path, body string) {
		b.t.Helper()
		if status, text := b.api(http.MethodPost, path, body); status != http.StatusCreated {
			b.t.Fatalf("%s: %d %s", path, status, text)
		}
	}
	must("/api/v1/namespaces", fmt.Sprintf(`{"metadata": {"name": %q}}`, b.namespace))
	rbac := "/apis/rbac.authorization.k8s.io/v1/namespaces/" + b.namespace
	for file, name := range map[string]string{"namespace": "dlx", "detach": "dlx-detach"} {
		manifest, err := os.ReadFile("../../backends/kubernetes/rbac/" + file + ".yaml")
		if err != nil {
			b.t.Fatal(err)
		}
		role, err := yaml.YAMLToJSON(manifest)
		if err != nil {
			b.t.Fatal(err)
		}
		must(rbac+"/roles", string(role))
		must(rbac+"/rolebindings", fmt.Sprintf(`{"metadata": {"name": %q}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": %q},
			"subjects": [{"kind": "User", "name": "laptop", "apiGroup": "rbac.authorization.k8s.io"}]}`, name, name))
	}
	kubeconfig, err := clientcmd.LoadFromFile(os.Getenv("DLX_TEST_KUBECONFIG"))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, u := range kubeconfig.AuthInfos {
		u.Impersonate = "laptop"
	}
	file := filepath.Join(b.t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*kubeconfig, file); err != nil {
		b.t.Fatal(err)
	}
	return file
}

// labVolume makes a volume that a claim without a class gets, for the lab makes none by itself. It
// lies in a folder that all nodes of the lab see. In the end it goes, and the bed's namespace.
func labVolume(b *detachBed) (folder string) {
	b.t.Helper()
	name, folder := b.namespace, b.t.TempDir()
	status, text := b.api(http.MethodPost, "/api/v1/persistentvolumes", fmt.Sprintf(`{"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": %q},
		"spec": {"capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": %q}}}`, name, folder))
	if status != http.StatusCreated {
		b.t.Fatalf("volume: %d %s", status, text)
	}
	b.t.Cleanup(func() {
		for _, path := range []string{"/api/v1/namespaces/" + b.namespace, "/api/v1/persistentvolumes/" + name} {
			b.remove(path)
		}
	})
	return folder
}

// remove deletes an object and sees it gone: other tests list all there is.
func (b *detachBed) remove(path string) {
	b.t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		status, text := b.api(http.MethodDelete, path, "") // one that is going is a conflict
		if status == http.StatusNotFound {
			return
		}
		if time.Now().After(end) {
			b.t.Errorf("%s: %d %s", path, status, text)
			return
		}
	}
}

// onlyTheRoleOfDlx checks that an account has the rules of rbac/namespace.yaml and no others.
func onlyTheRoleOfDlx(b *detachBed, account string) {
	b.t.Helper()
	var want, got struct {
		Rules any `json:"rules"`
	}
	manifest, err := os.ReadFile("../../backends/kubernetes/rbac/namespace.yaml")
	if err != nil {
		b.t.Fatal(err)
	}
	if err := yaml.Unmarshal(manifest, &want); err != nil {
		b.t.Fatal(err)
	}
	const rbac = "/apis/rbac.authorization.k8s.io/v1/"
	_, text := b.api(http.MethodGet, rbac+"namespaces/"+b.namespace+"/roles/"+account, "")
	if err := json.Unmarshal(text, &got); err != nil {
		b.t.Fatal(err)
	}
	if diff := cmp.Diff(want.Rules, got.Rules); diff != "" || want.Rules == nil {
		b.t.Errorf("rules (-manifest +role):\n%s", diff)
	}
	for _, path := range []string{rbac + "rolebindings", rbac + "clusterrolebindings"} {
		var list struct {
			Items []struct {
				Metadata struct{ Name, Namespace string }
				RoleRef  struct{ Kind, Name string }
				Subjects []struct{ Kind, Name, Namespace string }
			}
		}
		_, text := b.api(http.MethodGet, path, "")
		if err := json.Unmarshal(text, &list); err != nil {
			b.t.Fatal(err)
		}
		for _, r := range list.Items {
			for _, s := range r.Subjects {
				own := r.Metadata.Namespace == b.namespace && r.RoleRef.Kind == "Role" && r.RoleRef.Name == account
				if s.Kind == "ServiceAccount" && s.Name == account && !own {
					b.t.Errorf("the account is bound by %s %s", path, r.Metadata.Name)
				}
			}
		}
	}
}

// killInside kills the dlx of a detached run, which is a process of this computer.
func killInside(t *testing.T, run string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		line, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(line, []byte("\x00--inside\x00"+run+"\x00")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatal("no process is dlx of the run")
}
