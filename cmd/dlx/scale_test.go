package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	"dlx.dev/dlx/backends/backendtest"
)

// The bars of the scale test.
const (
	scaleOverhead = 1.10             // the time of dlx by that of the bare loop
	scaleMemory   = 300 << 20        // bytes that dlx has at most
	scaleTrial    = 20 * time.Second // of a trial
	scaleNodes    = 100
)

const scaleStudy = `package scale

import (
	"list"

	"dlx.dev/dlx"
)

study: dlx.#Study & {
	name: "scale"
	axes: orchestration: [for i in list.Range(1, %d, 1) {"node\(i)"}]
	repeats: %d
	workload: dlx.#Command & {
		program: ["simulate", #"{"sleep": %v, "out": "rate 12\n"}"#]
		patterns: throughput: "^rate (?P<v>[0-9]+)$"
		roles: worker: {count: 1, gpus: 2}
	}
	metrics: throughput: dlx.#Throughput
}
`

const scaleTestbed = `package lab

import (
	"list"

	"dlx.dev/dlx"
)

testbed: dlx.#Testbed & {
	name: "lab"
	clouds: lab: {backend: "kubernetes", kubeconfig: %q}
	orchestrations: {for i in list.Range(1, %d, 1) {
		"node\(i)": {cloud: "lab", machine: %s & {nodeSelector: "kubernetes.io/hostname": "simulated\(i)"}}
	}}
}
`

// TestScaleOnSimulatedNodes runs as many trials as DLX_TEST_SCALE says on 100 simulated nodes of a
// real control plane, one at a time on each, and then the same Jobs by a bare loop over client-go:
// for each node one Job after the other, made as soon as the pod of the last has ended, which an
// informer tells. The loop reads nothing of what processes leave behind, waits for no record of a
// Job and removes nothing; dlx's time is that of its whole run, with holders made and removed.
func TestScaleOnSimulatedNodes(t *testing.T) {
	const world = "kubernetes/scale"
	trials, _ := strconv.Atoi(os.Getenv("DLX_TEST_SCALE"))
	kubeconfig, pod := os.Getenv("DLX_TEST_KUBECONFIG"), os.Getenv("DLX_TEST_SIMULATED_POD")
	if trials < scaleNodes || kubeconfig == "" || pod == "" {
		backendtest.Skip(t, world, "DLX_TEST_SCALE, DLX_TEST_KUBECONFIG and DLX_TEST_SIMULATED_POD ask for no such test")
	}
	each := trials / scaleNodes
	trials = each * scaleNodes
	study := writeStudy(t, fmt.Sprintf(scaleStudy, scaleNodes+1, each, scaleTrial.Seconds()))
	testbed := filepath.Join(t.TempDir(), "lab.cue")
	if err := os.WriteFile(testbed, fmt.Appendf(nil, scaleTestbed, kubeconfig, scaleNodes+1, pod), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	cfg.QPS = -1 // the server says when it is too much, as dlx has it
	core, batch := restClient(t, cfg, "/api", corev1.SchemeGroupVersion), restClient(t, cfg, "/apis", batchv1.SchemeGroupVersion)
	before := settledObjects(t, cfg)
	made := collectJobs(t, batch)

	dir := filepath.Join(t.TempDir(), "run")
	cmd := exec.CommandContext(t.Context(), staticDlx(t), "run", study, "--testbed", testbed, "--progress", "plain", "--dir", dir)
	load := daemons()
	began := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(began)
	if err != nil || !strings.Contains(string(out), fmt.Sprintf("%d trials: %d done", trials, trials)) {
		t.Fatalf("%v\n%s", err, lastOf(string(out), 4000))
	}
	used := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	t.Logf("dlx: %d trials in %.1f s, %.1f s of processor time, %d MiB at most; the cluster %.1f s", trials, took.Seconds(),
		(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds(), used.Maxrss>>10, (daemons() - load).Seconds())
	if peak := used.Maxrss << 10; peak > scaleMemory {
		t.Errorf("dlx took %d MiB; at most %d", peak>>20, scaleMemory>>20)
	}
	observedOnce(t, filepath.Join(dir, "journal.jsonl"), trials)
	sameObjects(t, before, clusterObjects(t, cfg))
	if !strings.Contains(string(out), "all machines are processes of one computer") {
		t.Errorf("nothing says that nothing was measured:\n%s", lastOf(string(out), 1000))
	}

	jobs := made()
	if len(jobs) != trials {
		t.Fatalf("dlx made %d Jobs for %d trials", len(jobs), trials)
	}
	load = daemons()
	bare := bareLoop(t, core, batch, jobs)
	t.Logf("bare loop: %.1f s, the cluster %.1f s of processor time; dlx took %.3f of it", bare.Seconds(), (daemons() - load).Seconds(), took.Seconds()/bare.Seconds())
	if took.Seconds() > scaleOverhead*bare.Seconds() {
		t.Errorf("dlx took %.3f of the bare loop's time; at most %.2f", took.Seconds()/bare.Seconds(), scaleOverhead)
	}
}

// restClient gives a way to a group of the API.
func restClient(t *testing.T, cfg *rest.Config, path string, gv schema.GroupVersion) *rest.RESTClient {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, batchv1.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	metav1.AddToGroupVersion(s, corev1.SchemeGroupVersion)
	one := rest.CopyConfig(cfg)
	one.APIPath, one.GroupVersion, one.NegotiatedSerializer = path, &gv, serializer.NewCodecFactory(s).WithoutConversion()
	c, err := rest.RESTClientFor(one)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// collectJobs gives what gives the Jobs that are made from now on.
func collectJobs(t *testing.T, batch rest.Interface) func() []*batchv1.Job {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var mu sync.Mutex
	jobs := map[string]*batchv1.Job{}
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(batch, "jobs", metav1.NamespaceAll, fields.Everything()),
		ObjectType:    &batchv1.Job{},
		Handler: cache.ResourceEventHandlerDetailedFuncs{AddFunc: func(o any, old bool) {
			mu.Lock()
			defer mu.Unlock()
			if j, ok := o.(*batchv1.Job); ok && !old {
				jobs[j.Name] = j
			}
		}},
	})
	go informer.Run(ctx.Done())
	cache.WaitForCacheSync(ctx.Done(), informer.HasSynced)
	return func() []*batchv1.Job {
		stop()
		mu.Lock()
		defer mu.Unlock()
		var out []*batchv1.Job
		for _, j := range jobs {
			out = append(out, j)
		}
		return out
	}
}

// bareLoop makes Jobs again, in a namespace of their own, and gives the time until the last of
// their pods has ended.
func bareLoop(t *testing.T, core, batch rest.Interface, jobs []*batchv1.Job) time.Duration {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "bare-"}}
	if err := core.Post().Resource("namespaces").Body(ns).Do(t.Context()).Into(ns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := core.Delete().Resource("namespaces").Name(ns.Name).Do(context.WithoutCancel(t.Context())).Error(); err != nil {
			t.Error(err)
		}
	})
	byNode := map[string][]*batchv1.Job{}
	for _, j := range jobs {
		node := j.Spec.Template.Spec.NodeSelector["kubernetes.io/hostname"]
		byNode[node] = append(byNode[node], again(t, j, ns.Name))
	}
	var mu sync.Mutex
	ends := map[string]chan struct{}{}
	for _, j := range jobs {
		ends[j.Name] = make(chan struct{})
	}
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(core, "pods", ns.Name, fields.Everything()),
		ObjectType:    &corev1.Pod{},
		Handler: cache.ResourceEventHandlerFuncs{UpdateFunc: func(_, o any) {
			p, ok := o.(*corev1.Pod)
			if !ok || p.Status.Phase != corev1.PodSucceeded {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if end := ends[p.Labels[batchv1.JobNameLabel]]; end != nil {
				close(end)
				ends[p.Labels[batchv1.JobNameLabel]] = nil
			}
		}},
	})
	go informer.Run(t.Context().Done())
	waits := map[string]chan struct{}{}
	for name, end := range ends {
		waits[name] = end
	}
	began := time.Now()
	var all sync.WaitGroup
	for _, queue := range byNode {
		all.Go(func() {
			for _, j := range queue {
				if err := batch.Post().Namespace(ns.Name).Resource("jobs").Body(j).Do(t.Context()).Error(); err != nil {
					t.Error(err)
					return
				}
				select {
				case <-waits[j.Name]:
				case <-t.Context().Done():
				}
			}
		})
	}
	all.Wait()
	return time.Since(began)
}

// again gives a Job to be made once more, with folders of its own.
func again(t *testing.T, j *batchv1.Job, ns string) *batchv1.Job {
	t.Helper()
	out := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: j.Name, Labels: j.Labels, Annotations: j.Annotations}, Spec: *j.Spec.DeepCopy()}
	out.Spec.Selector = nil
	for _, key := range []string{batchv1.JobNameLabel, batchv1.ControllerUidLabel, "job-name", "controller-uid"} {
		delete(out.Spec.Template.Labels, key)
	}
	text, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	run := j.Labels["dlx.dev/run"]
	again := &batchv1.Job{}
	if err := json.Unmarshal([]byte(strings.ReplaceAll(string(text), "/"+run+"/", "/"+ns+"/")), again); err != nil {
		t.Fatal(err)
	}
	return again
}

// daemons is the processor time that the lab's servers have used; 0 where there is no lab.
func daemons() time.Duration {
	pids, _ := filepath.Glob(filepath.Join(filepath.Dir(os.Getenv("DLX_TEST_KUBECONFIG")), "run", "pid", "*"))
	ticks := 0
	for _, file := range pids {
		pid, _ := os.ReadFile(file)
		stat, _ := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(string(pid)), "stat"))
		_, rest, _ := strings.Cut(string(stat), ") ")
		if f := strings.Fields(rest); len(f) > 14 {
			for _, i := range []int{11, 12, 13, 14} { // of the process, and of children that have ended
				n, _ := strconv.Atoi(f[i])
				ticks += n
			}
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

func lastOf(s string, n int) string { return s[max(0, len(s)-n):] }
