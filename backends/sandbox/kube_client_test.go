package sandbox_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
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
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/utils/ptr"

	"dlx.dev/dlx/backends/pipenet"
	"dlx.dev/dlx/backends/sandbox"
)

// world is a sandbox with a cluster and a client of it.
type world struct {
	t        *testing.T
	s        *sandbox.Server
	cfg      sandbox.Config
	net      *pipenet.Network // nil: loopback
	rest     *rest.Config
	core     *rest.RESTClient
	batch    *rest.RESTClient
	params   runtime.ParameterCodec
	closed   bool
	cluster  string
	machines int
}

// loopback starts a sandbox with a cluster of n nodes over real sockets.
func loopback(t *testing.T, n int, cfg sandbox.Config) *world {
	t.Helper()
	w := &world{t: t, cfg: cfg, cluster: "c", machines: n}
	w.open()
	return w
}

// virtual does the same without sockets, in a bubble of virtual time.
func virtual(t *testing.T, n int, cfg sandbox.Config) *world {
	t.Helper()
	w := &world{t: t, cfg: cfg, net: &pipenet.Network{}, cluster: "c", machines: n}
	l, err := w.net.Listen("api:80")
	if err != nil {
		t.Fatal(err)
	}
	w.cfg.Listener, w.cfg.Listen, w.cfg.Port = l, w.net.Listen, 22
	if w.cfg.Kube.Pace == 0 {
		w.cfg.Kube.Pace = 100 * time.Millisecond
	}
	w.open()
	return w
}

func (w *world) open() {
	w.t.Helper()
	if w.cfg.State == "" {
		w.cfg.State = w.t.TempDir()
	}
	var err error
	if w.s, err = sandbox.Start(w.t.Context(), w.cfg); err != nil {
		w.t.Fatal(err)
	}
	w.closed = false
	w.t.Cleanup(w.end)
	config, err := w.s.Cluster(w.cluster, w.machines)
	if err != nil {
		w.t.Fatal(err)
	}
	w.rest = w.client(config)
	scheme := scheme(w.t)
	w.params = runtime.NewParameterCodec(scheme)
	w.core = w.group(scheme, corev1.SchemeGroupVersion, "/api")
	w.batch = w.group(scheme, batchv1.SchemeGroupVersion, "/apis")
}

func scheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, batchv1.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	metav1.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	return s
}

func (w *world) client(config []byte) *rest.Config {
	w.t.Helper()
	c, err := clientcmd.RESTConfigFromKubeConfig(config)
	if err != nil {
		w.t.Fatal(err)
	}
	c.QPS = -1
	if w.net != nil {
		c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			return w.net.DialContext(ctx, network, addr)
		}
	}
	return c
}

func (w *world) group(scheme *runtime.Scheme, gv schema.GroupVersion, path string) *rest.RESTClient {
	w.t.Helper()
	c := rest.CopyConfig(w.rest)
	c.GroupVersion, c.APIPath = &gv, path
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	c.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	c.ContentType = "application/json"
	r, err := rest.RESTClientFor(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) close() { w.stop((*sandbox.Server).Close) }

// end ends what a test left there, its control groups included.
func (w *world) end() {
	w.stop(func(s *sandbox.Server) error { return s.End(context.WithoutCancel(w.t.Context())) })
}

func (w *world) stop(how func(*sandbox.Server) error) {
	if w.closed {
		return
	}
	w.closed = true
	for _, r := range []*rest.RESTClient{w.core, w.batch} {
		if r != nil {
			r.Client.CloseIdleConnections()
		}
	}
	if err := how(w.s); err != nil {
		w.t.Error(err)
	}
}

// restart closes the sandbox and starts another one on the same state.
func (w *world) restart() {
	w.t.Helper()
	w.close()
	if w.net != nil {
		l, err := w.net.Listen("api:80")
		if err != nil {
			w.t.Fatal(err)
		}
		w.cfg.Listener = l
	}
	w.open()
}

// remove removes the cluster and checks that nothing is left.
func (w *world) remove() {
	w.t.Helper()
	w.s.RemoveCluster(w.cluster)
	if left := w.s.Processes(); len(left) != 0 {
		w.t.Errorf("processes are left: %v", left)
	}
}

func must[T any](t *testing.T) func(v T, err error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (w *world) createPod(p *corev1.Pod) *corev1.Pod {
	w.t.Helper()
	out := &corev1.Pod{}
	if err := w.core.Post().Namespace("default").Resource("pods").Body(p).Do(w.t.Context()).Into(out); err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *world) createJob(j *batchv1.Job) *batchv1.Job {
	w.t.Helper()
	out := &batchv1.Job{}
	if err := w.batch.Post().Namespace("default").Resource("jobs").Body(j).Do(w.t.Context()).Into(out); err != nil {
		w.t.Fatal(err)
	}
	return out
}

// until waits, with a watch, until an object of a name is as wanted.
func until[T runtime.Object](w *world, c *rest.RESTClient, resource, name string, ok func(T) bool) T {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Minute)
	defer cancel()
	watch, err := c.Get().Namespace("default").Resource(resource).VersionedParams(&metav1.ListOptions{Watch: true,
		FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()}, w.params).Watch(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	defer watch.Stop()
	var last T
	for e := range watch.ResultChan() {
		o, is := e.Object.(T)
		if !is {
			w.t.Fatalf("%s %s: %v", resource, name, e.Object)
		}
		last = o
		if ok(o) {
			return o
		}
	}
	w.t.Fatalf("%s %s did not become as wanted; last seen: %+v", resource, name, last)
	return last
}

func (w *world) running(name string) *corev1.Pod {
	w.t.Helper()
	return until(w, w.core, "pods", name, func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
}

func (w *world) log(name string) string {
	w.t.Helper()
	b, err := w.core.Get().Namespace("default").Resource("pods").Name(name).SubResource("log").DoRaw(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

// exec runs a command in a pod and gives what it prints.
func (w *world) exec(pod string, stdin []byte, command ...string) (stdout, stderr string, err error) {
	w.t.Helper()
	req := w.core.Post().Namespace("default").Resource("pods").Name(pod).SubResource("exec").VersionedParams(&corev1.PodExecOptions{
		Command: command, Stdin: stdin != nil, Stdout: true, Stderr: true}, w.params)
	x, err := remotecommand.NewWebSocketExecutor(w.rest, "GET", req.URL().String())
	if err != nil {
		w.t.Fatal(err)
	}
	var out, bad bytes.Buffer
	o := remotecommand.StreamOptions{Stdout: &out, Stderr: &bad}
	if stdin != nil {
		o.Stdin = bytes.NewReader(stdin)
	}
	err = x.StreamWithContext(w.t.Context(), o)
	return out.String(), bad.String(), err
}

// sh is a pod that runs a shell script.
func sh(name, script string, more ...func(*corev1.PodSpec)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, TerminationGracePeriodSeconds: ptr.To[int64](1),
		Containers: []corev1.Container{{Name: "main", Image: "sandbox/sh", Command: []string{"sh", "-c", script}}}}}
	for _, f := range more {
		f(&p.Spec)
	}
	return p
}

// job is an indexed one of n pods that run a shell script.
func job(name string, n int32, script string, more ...func(*batchv1.Job)) *batchv1.Job {
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: batchv1.JobSpec{Completions: &n, Parallelism: &n, BackoffLimit: ptr.To[int32](0),
		CompletionMode: ptr.To(batchv1.IndexedCompletion), Template: corev1.PodTemplateSpec{Spec: sh("", script).Spec}}}
	for _, f := range more {
		f(j)
	}
	return j
}

func verdict(j *batchv1.Job) string {
	for _, c := range j.Status.Conditions {
		if c.Status == corev1.ConditionTrue && (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) {
			return fmt.Sprintf("%s %s", c.Type, c.Reason)
		}
	}
	return ""
}

func lines(s string) []string { return strings.Split(strings.TrimSuffix(s, "\n"), "\n") }
