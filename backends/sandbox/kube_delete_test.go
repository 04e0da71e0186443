package sandbox_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"dlx.dev/dlx/backends/sandbox"
)

// gone waits until an object is gone.
func (w *world) gone(get func() error) {
	w.t.Helper()
	for range 1000 {
		if err := get(); apierrors.IsNotFound(err) {
			return
		} else if err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	w.t.Fatal("it does not go")
}

func (w *world) getter(resource, name string) func() error {
	c := w.core
	if resource == "jobs" {
		c = w.batch
	}
	return func() error {
		return c.Get().Namespace("default").Resource(resource).Name(name).Do(w.t.Context()).Error()
	}
}

// What belongs to a ConfigMap goes with it: jobs, their pods, services, and after a foreground
// deletion the ConfigMap itself is the last.
func TestOwnersTakeTheirOwn(t *testing.T) {
	for _, how := range []metav1.DeletionPropagation{metav1.DeletePropagationBackground, metav1.DeletePropagationForeground} {
		inVirtualTime(t, 1, sandbox.Config{}, func(w *world) {
			ctx := w.t.Context()
			m := configMap("owner")
			if err := w.core.Post().Namespace("default").Resource("configmaps").Body(m).Do(ctx).Into(m); err != nil {
				w.t.Fatal(err)
			}
			owned := []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: m.Name, UID: m.UID, BlockOwnerDeletion: ptr.To(true)}}
			w.createJob(job("j", 2, "sleep 1000", func(j *batchv1.Job) { j.OwnerReferences = owned }))
			s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s", OwnerReferences: owned}, Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone}}
			if err := w.core.Post().Namespace("default").Resource("services").Body(s).Do(ctx).Error(); err != nil {
				w.t.Fatal(err)
			}
			until(w, w.batch, "jobs", "j", func(j *batchv1.Job) bool { return ptr.Deref(j.Status.Ready, 0) == 2 })
			if err := w.core.Delete().Namespace("default").Resource("configmaps").Name("owner").Body(&metav1.DeleteOptions{PropagationPolicy: &how}).Do(ctx).Error(); err != nil {
				w.t.Fatal(err)
			}
			w.gone(w.getter("configmaps", "owner"))
			if how == metav1.DeletePropagationForeground {
				if n := w.count("pods"); n != 0 {
					w.t.Errorf("the owner went before %d pods", n)
				}
			}
			w.gone(w.getter("jobs", "j"))
			w.gone(w.getter("services", "s"))
			for w.count("pods") > 0 {
				time.Sleep(20 * time.Millisecond)
			}
			for len(w.s.Processes()) > 0 {
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
}

// A plain delete of a Job leaves its pods, as the API of old did.
func TestOrphans(t *testing.T) {
	inVirtualTime(t, 1, sandbox.Config{}, func(w *world) {
		w.createJob(job("j", 1, "sleep 1000"))
		until(w, w.batch, "jobs", "j", func(j *batchv1.Job) bool { return j.Status.Active == 1 })
		if err := w.batch.Delete().Namespace("default").Resource("jobs").Name("j").Do(w.t.Context()).Error(); err != nil {
			w.t.Fatal(err)
		}
		w.gone(w.getter("jobs", "j"))
		l := &corev1.PodList{}
		if err := w.core.Get().Namespace("default").Resource("pods").Do(w.t.Context()).Into(l); err != nil {
			w.t.Fatal(err)
		}
		if len(l.Items) != 1 || len(l.Items[0].OwnerReferences) != 0 || l.Items[0].DeletionTimestamp != nil {
			w.t.Errorf("got %+v", l.Items)
		}
	})
}

func TestNamespacesGoWithWhatIsInThem(t *testing.T) {
	inVirtualTime(t, 1, sandbox.Config{}, func(w *world) {
		ctx := w.t.Context()
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "bench"}}
		if err := w.core.Post().Resource("namespaces").Body(ns).Do(ctx).Into(ns); err != nil {
			w.t.Fatal(err)
		}
		if ns.Labels["kubernetes.io/metadata.name"] != "bench" || ns.Status.Phase != corev1.NamespaceActive {
			w.t.Errorf("got %+v", ns)
		}
		m := configMap("held")
		m.Finalizers = []string{"example.org/hold"}
		if err := w.core.Post().Namespace("bench").Resource("configmaps").Body(m).Do(ctx).Into(m); err != nil {
			w.t.Fatal(err)
		}
		if err := w.core.Post().Namespace("bench").Resource("pods").Body(sh("p", "sleep 1000")).Do(ctx).Error(); err != nil {
			w.t.Fatal(err)
		}
		if err := w.core.Delete().Resource("namespaces").Name("bench").Do(ctx).Into(ns); err != nil || ns.Status.Phase != corev1.NamespaceTerminating {
			w.t.Errorf("got %+v, %v", ns.Status, err)
		}
		err := w.core.Post().Namespace("bench").Resource("configmaps").Body(configMap("late")).Do(ctx).Error()
		const want = `configmaps "late" is forbidden: unable to create new content in namespace bench because it is being terminated`
		if !apierrors.IsForbidden(err) || err.Error() != want || !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			w.t.Errorf("got %v", err)
		}
		time.Sleep(10 * time.Second)
		get := func() error { return w.core.Get().Resource("namespaces").Name("bench").Do(ctx).Into(ns) }
		if err := get(); err != nil {
			w.t.Errorf("the namespace went while something was in it: %v", err)
		}
		var said []string
		for _, c := range ns.Status.Conditions {
			said = append(said, fmt.Sprintf("%s %s: %s", c.Type, c.Reason, c.Message))
		}
		slices.Sort(said)
		if diff := cmp.Diff([]string{
			"NamespaceContentRemaining SomeResourcesRemain: Some resources are remaining: configmaps. has 1 resource instances",
			"NamespaceFinalizersRemaining SomeFinalizersRemain: Some content in the namespace has finalizers remaining: example.org/hold in 1 resource instances",
		}, said); diff != "" {
			w.t.Errorf("conditions of the namespace (-want +got):\n%s", diff)
		}
		if err := w.core.Get().Namespace("bench").Resource("configmaps").Name("held").Do(ctx).Into(m); err != nil {
			w.t.Fatal(err)
		}
		m.Finalizers = nil
		if err := w.core.Put().Namespace("bench").Resource("configmaps").Name("held").Body(m).Do(ctx).Error(); err != nil {
			w.t.Fatal(err)
		}
		w.gone(get)
	})
}

func TestPreconditions(t *testing.T) {
	inVirtualTime(t, 1, sandbox.Config{}, func(w *world) {
		ctx := w.t.Context()
		if err := w.core.Post().Namespace("default").Resource("configmaps").Body(configMap("m")).Do(ctx).Error(); err != nil {
			w.t.Fatal(err)
		}
		o := &metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions("other")}
		if err := w.core.Delete().Namespace("default").Resource("configmaps").Name("m").Body(o).Do(ctx).Error(); !apierrors.IsConflict(err) {
			w.t.Errorf("got %v", err)
		}
	})
}
