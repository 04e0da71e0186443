package kubernetes

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"dlx.dev/dlx/backends"
)

func TestTheStateOfADetachedRunIsThatOfItsJobAndItsLastPod(t *testing.T) {
	pod := func(name string, age time.Duration, edit func(*corev1.Pod)) corev1.Pod {
		p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(time.Unix(1e9, 0).Add(-age)),
			OwnerReferences: []metav1.OwnerReference{{UID: "u", Controller: ptr.To(true)}}}}
		edit(&p)
		return p
	}
	ends := func(code int32, reason string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Status.Phase = corev1.PodFailed
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason}}}}
		}
	}
	runs := func(p *corev1.Pod) {
		p.Status.Phase, p.Status.PodIP = corev1.PodRunning, "10.0.0.1"
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	}
	pulls := func(p *corev1.Pod) {
		p.Status.Phase = corev1.PodPending
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "not found"}}}}
	}
	condition := func(typ batchv1.JobConditionType, reason string) []batchv1.JobCondition {
		return []batchv1.JobCondition{{Type: typ, Status: corev1.ConditionTrue, Reason: reason, Message: "words"}}
	}
	warnings := func(uid string) []*corev1.Event {
		if uid != "refused" {
			return nil
		}
		return []*corev1.Event{{Reason: "FailedCreate", Message: "exceeded quota: few"}}
	}
	if got := stateOf(&batchv1.Job{ObjectMeta: metav1.ObjectMeta{UID: "refused"}}, nil, warnings); got.Why != "FailedCreate: exceeded quota: few" {
		t.Errorf("a Job whose pod is refused: got %+v", got)
	}
	for _, test := range []struct {
		name string
		end  []batchv1.JobCondition
		pods []corev1.Pod
		want DetachedState
	}{
		{"no pod", nil, nil, DetachedState{Phase: DetachedWaiting, Exit: -1, Why: "the Job has no pod yet"}},
		{"another's pod", nil, []corev1.Pod{pod("x", 0, func(p *corev1.Pod) { runs(p); p.OwnerReferences = nil })}, DetachedState{Phase: DetachedWaiting, Exit: -1, Why: "the Job has no pod yet"}},
		{"running", nil, []corev1.Pod{pod("b", 0, runs), pod("a", time.Hour, ends(137, "Error"))}, DetachedState{Phase: DetachedRunning, Exit: -1, Pod: "b"}},
		{"between two", nil, []corev1.Pod{pod("a", 0, ends(143, "Error"))}, DetachedState{Phase: DetachedWaiting, Exit: -1, Why: "Error (143)"}},
		{"being removed", nil, []corev1.Pod{pod("a", 0, func(p *corev1.Pod) { runs(p); p.DeletionTimestamp = &metav1.Time{} })},
			DetachedState{Phase: DetachedWaiting, Exit: -1, Why: "pod a is being removed"}},
		{"no image", nil, []corev1.Pod{pod("a", 0, pulls)}, DetachedState{Phase: DetachedWaiting, Exit: -1, Why: "ErrImagePull: not found"}},
		{"done", condition(batchv1.JobComplete, "CompletionsReached"), nil, DetachedState{Phase: DetachedEnded}},
		{"trials failed", condition(batchv1.JobFailed, "PodFailurePolicy"), []corev1.Pod{pod("a", 0, ends(1, "Error"))}, DetachedState{Phase: DetachedEnded, Exit: 1, Why: "Error (1)"}},
		{"given up", condition(batchv1.JobFailed, "BackoffLimitExceeded"), nil, DetachedState{Phase: DetachedEnded, Exit: -1, Why: "BackoffLimitExceeded: words"}},
	} {
		j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{UID: "u"}, Status: batchv1.JobStatus{Conditions: test.end}}
		test.want.Job = "u"
		if diff := cmp.Diff(test.want, stateOf(j, test.pods, warnings)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

// What dlx makes for a detached run is no fleet's: a release by the run's name leaves it alone.
func TestADetachedRunIsNotTakenForWhatItsTrialsMade(t *testing.T) {
	d, err := DetachedIn(t.Context(), json.RawMessage(`{"kubeconfig": "testdata/nosuch"}`), Detach{Run: "r-1", Namespace: "n", Machine: json.RawMessage(`{"image": "i"}`)}, Options{})
	if err == nil {
		t.Fatalf("a kubeconfig that is not there was taken: %v", d)
	}
	d = &Detached{run: "r-1", c: &cluster{ns: "n"}, pod: Pod{Image: "i", PullSecret: "s", Tolerations: []Toleration{{Key: "k"}}}}
	j := d.job([]string{"dlx", "run", "$(x)"})
	for _, l := range []map[string]string{j.Labels, j.Spec.Template.Labels} {
		if l[labelManager] == manager || l[labelRun] != "r-1" {
			t.Errorf("labels %v", l)
		}
	}
	spec := j.Spec.Template.Spec
	if spec.ServiceAccountName != d.Name() || !*spec.AutomountServiceAccountToken || spec.ImagePullSecrets[0].Name != "s" || spec.Tolerations[0].Key != "k" ||
		spec.Volumes[0].PersistentVolumeClaim.ClaimName != d.Name() || spec.Containers[0].Command[2] != "$$(x)" {
		t.Errorf("got %+v", spec)
	}
	r, err := d.role(false)
	if err != nil || len(r.Rules) == 0 || r.Name != d.Name() {
		t.Errorf("role %v, %v", r, err)
	}
	more, err := d.role(true)
	if err != nil || len(more.Rules) != len(r.Rules)+1 || more.Rules[len(r.Rules)].Resources[0] != jobSets.name {
		t.Errorf("with JobSet: role %v, %v", more, err)
	}
}

func TestMachinesAreAwayFromTheDlxThatMeasuresThemWhereTheyCanBe(t *testing.T) {
	for hosts, required := range map[backends.Hosts]int{backends.AnyHosts: 0, backends.SameHost: 0, backends.DifferentHosts: 1} {
		p := holderPod(&spot{at: &backends.Kubernetes{Owner: backends.Owner{Run: "r", Fleet: "f"}, Hosts: hosts}}, time.Time{})
		away := p.Spec.Affinity.PodAntiAffinity
		if len(away.RequiredDuringSchedulingIgnoredDuringExecution) != required || (p.Spec.Affinity.PodAffinity != nil) != (hosts == backends.SameHost) {
			t.Errorf("hosts %q: got %+v", hosts, p.Spec.Affinity)
		}
		d := &Detached{run: "r", c: &cluster{ns: "n"}}
		term := away.PreferredDuringSchedulingIgnoredDuringExecution[0].PodAffinityTerm
		if s, err := metav1.LabelSelectorAsSelector(term.LabelSelector); err != nil || !s.Matches(labels.Set(d.job(nil).Spec.Template.Labels)) || s.Matches(labels.Set(p.Labels)) {
			t.Errorf("hosts %q: %v does not tell the pod of dlx from a machine (%v)", hosts, term.LabelSelector, err)
		}
	}
}

func TestSettingsOfADetachedRun(t *testing.T) {
	in := json.RawMessage(`{"kubeconfig":"k","context":"c","namespace":""}`)
	out, err := WithNamespace(in, "n")
	if err != nil || string(out) != `{"kubeconfig":"k","context":"c","namespace":"n"}` {
		t.Errorf("got %s, %v", out, err)
	}
	if ns, err := NamespaceOf(out); ns != "n" || err != nil {
		t.Errorf("got %q, %v", ns, err)
	}
	if _, err := NamespaceOf(json.RawMessage(`{"nosuch": 1}`)); err == nil {
		t.Error("an unknown setting was taken")
	}
}
