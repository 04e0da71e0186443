package sandbox_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"dlx.dev/dlx/backends/sandbox"
)

// inVirtualTime runs a test in a bubble, on a cluster of some nodes.
func inVirtualTime(t *testing.T, nodes int, cfg sandbox.Config, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := virtual(t, nodes, cfg)
		f(w)
		w.remove()
		w.close()
	})
}

func configMap(name string, data ...string) *corev1.ConfigMap {
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{}}
	for i := 0; i+1 < len(data); i += 2 {
		m.Data[data[i]] = data[i+1]
	}
	return m
}

// The texts are those of a real API server, 1.37.
func TestAPIRefusals(t *testing.T) {
	inVirtualTime(t, 1, sandbox.Config{}, func(w *world) {
		ctx := w.t.Context()
		want := func(what string, err error, code int32, reason metav1.StatusReason, message string) {
			w.t.Helper()
			var s apierrors.APIStatus
			if as, ok := err.(apierrors.APIStatus); ok {
				s = as
			} else {
				w.t.Errorf("%s: got %v", what, err)
				return
			}
			if got := s.Status(); got.Code != code || got.Reason != reason || got.Message != message {
				w.t.Errorf("%s:\ngot  %d %s %s\nwant %d %s %s", what, got.Code, got.Reason, got.Message, code, reason, message)
			}
		}
		post := func(j *batchv1.Job) error {
			return w.batch.Post().Namespace("default").Resource("jobs").Body(j).Do(ctx).Error()
		}
		pod := func(j *batchv1.Job) *corev1.Container { return &j.Spec.Template.Spec.Containers[0] }
		want("a job that is not there", w.batch.Get().Namespace("default").Resource("jobs").Name("x").Do(ctx).Error(),
			404, metav1.StatusReasonNotFound, `jobs.batch "x" not found`)
		want("no such namespace", w.batch.Post().Namespace("no-such-ns").Resource("jobs").Body(job("x", 1, "true")).Do(ctx).Error(),
			404, metav1.StatusReasonNotFound, `namespaces "no-such-ns" not found`)
		want("restartPolicy Always", post(job("x", 1, "true", func(j *batchv1.Job) { j.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyAlways })),
			422, metav1.StatusReasonInvalid, `Job.batch "x" is invalid: spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"`)
		want("a name that is none", post(job("Bench_1", 1, "true")), 422, metav1.StatusReasonInvalid,
			`Job.batch "Bench_1" is invalid: [metadata.name: Invalid value: "Bench_1": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*'), metadata.name: Invalid value: "Bench_1": will not able to create pod with invalid DNS label: Bench_1-0]`)
		long := strings.Repeat("a", 64)
		want("a long name", post(job(long, 1, "true")), 422, metav1.StatusReasonInvalid,
			`Job.batch "`+long+`" is invalid: [spec.template.labels: Invalid value: "`+long+`": must be no more than 63 bytes, metadata.name: Invalid value: "`+long+`": will not able to create pod with invalid DNS label: `+long+`-0]`)
		want("half a GPU", post(job("x", 1, "true", func(j *batchv1.Job) {
			pod(j).Resources.Limits = corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("500m")}
		})), 422, metav1.StatusReasonInvalid, `Job.batch "x" is invalid: [spec.template.spec.containers[0].resources.limits[nvidia.com/gpu]: Invalid value: "500m": must be an integer, spec.template.spec.containers[0].resources.requests[nvidia.com/gpu]: Invalid value: "500m": must be an integer]`)
		want("a GPU without limit", post(job("x", 1, "true", func(j *batchv1.Job) {
			pod(j).Resources.Requests = corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("1")}
		})), 422, metav1.StatusReasonInvalid, `Job.batch "x" is invalid: spec.template.spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources`)
		w.createJob(job("twice", 1, "sleep 1000"))
		want("made twice", post(job("twice", 1, "true")), 409, metav1.StatusReasonAlreadyExists, `jobs.batch "twice" already exists`)
		want("immutable", w.batch.Patch(types.MergePatchType).Namespace("default").Resource("jobs").Name("twice").Body([]byte(`{"spec":{"completionMode":"NonIndexed"}}`)).Do(ctx).Error(),
			422, metav1.StatusReasonInvalid, `Job.batch "twice" is invalid: spec.completionMode: Invalid value: "NonIndexed": field is immutable`)
		want("no JSON", w.batch.Post().Namespace("default").Resource("jobs").Body([]byte(`{"kind":`)).Do(ctx).Error(), 400, metav1.StatusReasonBadRequest,
			`the object provided is unrecognized (must be of type Job): couldn't get version/kind; json parse error: unexpected end of JSON input ({"kind":)`)
		big := func(n int) error {
			return w.core.Post().Namespace("default").Resource("configmaps").Body(configMap("big", "k", strings.Repeat("x", n))).Do(ctx).Error()
		}
		want("a big ConfigMap", big(1<<20+1), 422, metav1.StatusReasonInvalid, `ConfigMap "big" is invalid: []: Too long: may not be more than 1048576 bytes`)
		want("a bigger one", big(4<<20), 413, metav1.StatusReasonRequestEntityTooLarge, `Request entity too large: limit is 3145728`)
		m := configMap("race")
		if err := w.core.Post().Namespace("default").Resource("configmaps").Body(m).Do(ctx).Into(m); err != nil {
			w.t.Fatal(err)
		}
		put := func() error {
			return w.core.Put().Namespace("default").Resource("configmaps").Name("race").Body(m).Do(ctx).Error()
		}
		m.Data = map[string]string{"a": "b"}
		if err := put(); err != nil {
			w.t.Error(err)
		}
		want("a stale update", put(), 409, metav1.StatusReasonConflict, `Operation cannot be fulfilled on configmaps "race": the object has been modified; please apply your changes to the latest version and try again`)
		r := w.core.Get().Namespace("default").Resource("pods").MaxRetries(0).Param("resourceVersion", "999999999").Do(ctx).Error()
		if !apierrors.IsTimeout(r) || !strings.Contains(r.Error(), "Too large resource version: 999999999, current: ") {
			w.t.Errorf("got %v", r)
		}
		want("an apply by nobody", w.core.Patch(types.ApplyYAMLPatchType).Namespace("default").Resource("configmaps").Name("race").Body([]byte("a: b")).Do(ctx).Error(),
			422, metav1.StatusReasonInvalid, `PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch`)
		want("a subresource that is not served", w.batch.Get().Namespace("default").Resource("jobs").Name("twice").SubResource("scale").Do(ctx).Error(),
			404, metav1.StatusReasonNotFound, "the sandbox does not serve GET /apis/batch/v1/namespaces/default/jobs/twice/scale")
		want("a group that is not served", w.core.Get().AbsPath("/apis/apps/v1").Do(ctx).Error(),
			404, metav1.StatusReasonNotFound, "the sandbox does not serve GET /apis/apps/v1")
	})
}

func TestWhoMayDoWhat(t *testing.T) {
	inVirtualTime(t, 1, sandbox.Config{}, func(w *world) {
		ctx := w.t.Context()
		list := func(c *rest.Config) error {
			saved := w.rest
			defer func() { w.rest = saved }()
			w.rest = c
			r := w.group(scheme(w.t), batchv1.SchemeGroupVersion, "/apis")
			defer r.Client.CloseIdleConnections()
			return r.Get().Namespace("default").Resource("jobs").Do(ctx).Error()
		}
		config, err := w.s.ClusterAs("c", 1, "nobody")
		if err != nil {
			w.t.Fatal(err)
		}
		if err := list(w.client(config)); err == nil || err.Error() != `jobs.batch is forbidden: User "nobody" cannot list resource "jobs" in API group "batch" in the namespace "default"` {
			w.t.Errorf("got %v", err)
		}
		if err := list(rest.AnonymousClientConfig(w.rest)); !apierrors.IsUnauthorized(err) {
			w.t.Errorf("got %v", err)
		}
		stranger := rest.CopyConfig(w.rest)
		if _, err := w.s.Cluster("other", 1); err != nil {
			w.t.Fatal(err)
		}
		other, err := w.s.Cluster("other", 1)
		if err != nil {
			w.t.Fatal(err)
		}
		o := w.client(other)
		stranger.CertData, stranger.KeyData = o.CertData, o.KeyData
		if err := list(stranger); !apierrors.IsUnauthorized(err) {
			w.t.Errorf("got %v", err)
		}
		w.s.RemoveCluster("other")
	})
}

func TestPatches(t *testing.T) {
	inVirtualTime(t, 1, sandbox.Config{}, func(w *world) {
		ctx := w.t.Context()
		if err := w.core.Post().Namespace("default").Resource("configmaps").Body(configMap("m", "a", "1", "b", "2")).Do(ctx).Error(); err != nil {
			w.t.Fatal(err)
		}
		for _, p := range []struct {
			kind types.PatchType
			body string
			want map[string]string
		}{
			{types.MergePatchType, `{"data":{"a":null,"c":"3"}}`, map[string]string{"b": "2", "c": "3"}},
			{types.JSONPatchType, `[{"op":"replace","path":"/data/b","value":"4"},{"op":"remove","path":"/data/c"}]`, map[string]string{"b": "4"}},
			{types.StrategicMergePatchType, `{"metadata":{"labels":{"x":"y"}},"data":{"d":"5"}}`, map[string]string{"b": "4", "d": "5"}},
		} {
			m := &corev1.ConfigMap{}
			if err := w.core.Patch(p.kind).Namespace("default").Resource("configmaps").Name("m").Body([]byte(p.body)).Do(ctx).Into(m); err != nil {
				w.t.Errorf("%s: %v", p.kind, err)
			}
			got, _ := json.Marshal(m.Data)
			want, _ := json.Marshal(p.want)
			if string(got) != string(want) {
				w.t.Errorf("%s: got %s; want %s", p.kind, got, want)
			}
		}
	})
}

func TestQuotas(t *testing.T) {
	inVirtualTime(t, 1, sandbox.Config{Kube: sandbox.KubeConfig{GPUs: 8}}, func(w *world) {
		ctx := w.t.Context()
		q := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "gpus"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"requests.nvidia.com/gpu": resource.MustParse("4")}}}
		if err := w.core.Post().Namespace("default").Resource("resourcequotas").Body(q).Do(ctx).Error(); err != nil {
			w.t.Fatal(err)
		}
		gpus := func(n string) func(*corev1.PodSpec) {
			return func(s *corev1.PodSpec) {
				s.Containers[0].Resources.Limits = corev1.ResourceList{"nvidia.com/gpu": resource.MustParse(n)}
			}
		}
		w.createPod(sh("p1", "sleep 1000", gpus("4")))
		err := w.core.Post().Namespace("default").Resource("pods").Body(sh("p2", "true", gpus("2"))).Do(ctx).Error()
		const want = `pods "p2" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=2, used: requests.nvidia.com/gpu=4, limited: requests.nvidia.com/gpu=4`
		if !apierrors.IsForbidden(err) || err.Error() != want {
			w.t.Errorf("got %v", err)
		}
		w.createJob(job("over", 1, "true", func(j *batchv1.Job) { gpus("2")(&j.Spec.Template.Spec) }))
		for {
			l := &corev1.EventList{}
			if err := w.core.Get().Namespace("default").Resource("events").Param("fieldSelector", "involvedObject.name=over,reason=FailedCreate").Do(ctx).Into(l); err != nil {
				w.t.Fatal(err)
			}
			if len(l.Items) > 0 && strings.HasPrefix(l.Items[0].Message, `Error creating: pods "over-0-`) && strings.Contains(l.Items[0].Message, "exceeded quota: gpus") {
				break
			}
			time.Sleep(time.Second)
		}
		if err := w.core.Delete().Namespace("default").Resource("pods").Name("p1").Body(&metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}).Do(ctx).Error(); err != nil {
			w.t.Fatal(err)
		}
		if j := until(w, w.batch, "jobs", "over", isOver); verdict(j) != "Complete CompletionsReached" {
			w.t.Errorf("got %+v", j.Status)
		}
	})
}

func TestFaultsOfTheAPI(t *testing.T) {
	f := &sandbox.Faults{}
	inVirtualTime(t, 1, sandbox.Config{Faults: f}, func(w *world) {
		ctx := w.t.Context()
		get := func() error {
			return w.core.Get().Namespace("default").Resource("pods").MaxRetries(0).Do(ctx).Error()
		}
		f.Fail("GET /api/v1/namespaces/default/pods", http.StatusTooManyRequests, "Too many requests, please try again later.", 1, "Content-Type", "text/plain; charset=utf-8", "Retry-After", "1")
		if err := get(); !apierrors.IsTooManyRequests(err) {
			w.t.Errorf("got %v", err)
		}
		f.HangUp("POST /api/v1/namespaces/*/configmaps", 1)
		if err := w.core.Post().Namespace("default").Resource("configmaps").Body(configMap("m")).Do(ctx).Error(); err == nil {
			w.t.Error("no error of a connection that broke")
		}
		if err := w.core.Get().Namespace("default").Resource("configmaps").Name("m").Do(ctx).Error(); err != nil {
			w.t.Errorf("the request did not arrive: %v", err)
		}
		f.Delay("GET /api/v1/namespaces/default/pods", time.Minute, 1)
		before := time.Now()
		if err := get(); err != nil || time.Since(before) < time.Minute {
			w.t.Errorf("got %v after %v", err, time.Since(before))
		}
	})
}
