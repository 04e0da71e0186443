package sandbox_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"dlx.dev/dlx/backends/sandbox"
)

func (w *world) nodes() []corev1.Node {
	w.t.Helper()
	l := &corev1.NodeList{}
	for len(l.Items) < w.machines {
		if err := w.core.Get().Resource("nodes").Do(w.t.Context()).Into(l); err != nil {
			w.t.Fatal(err)
		}
	}
	return l.Items
}

func TestScheduling(t *testing.T) {
	inVirtualTime(t, 2, sandbox.Config{}, func(w *world) {
		ctx := w.t.Context()
		list := w.nodes()
		refused := func(name, want string, change func(*corev1.PodSpec)) {
			w.t.Helper()
			w.createPod(sh(name, "true", change))
			p := until(w, w.core, "pods", name, func(p *corev1.Pod) bool { return len(p.Status.Conditions) > 0 })
			if c := p.Status.Conditions[0]; c.Type != corev1.PodScheduled || c.Status != corev1.ConditionFalse || c.Reason != "Unschedulable" || c.Message != want {
				w.t.Errorf("%s: got %+v", name, c)
			}
		}
		refused("much", "0/2 nodes are available: 2 Insufficient nvidia.com/gpu. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.", func(s *corev1.PodSpec) {
			s.Containers[0].Resources.Limits = corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("3")}
		})
		refused("selected", "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.", func(s *corev1.PodSpec) {
			s.NodeSelector = map[string]string{"rack": "7"}
		})
		named := func(name string) *corev1.Affinity {
			return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{name}}}}}}}}
		}
		for i := range list {
			name := "on-" + string(rune('a'+i))
			w.createPod(sh(name, "sleep 1000", func(s *corev1.PodSpec) { s.Affinity = named(list[i].Name) }))
			if p := w.running(name); p.Spec.NodeName != list[i].Name {
				w.t.Errorf("got %s; want %s", p.Spec.NodeName, list[i].Name)
			}
		}
		// It is tried again when something changes.
		patch := []byte(`{"metadata":{"labels":{"rack":"7"}}}`)
		if err := w.core.Patch(types.MergePatchType).Resource("nodes").Name(list[1].Name).Body(patch).Do(ctx).Error(); err != nil {
			w.t.Fatal(err)
		}
		if p := until(w, w.core, "pods", "selected", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded }); p.Spec.NodeName != list[1].Name {
			w.t.Errorf("got %s", p.Spec.NodeName)
		}
		apart := func(s *corev1.PodSpec) {
			s.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
				TopologyKey: corev1.LabelHostname, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"apart": "yes"}}}}}}
		}
		lonely := func(name string) *corev1.Pod {
			p := sh(name, "sleep 1000", apart)
			p.Labels = map[string]string{"apart": "yes"}
			return p
		}
		w.createPod(lonely("x"))
		w.createPod(lonely("y"))
		if x, y := w.running("x"), w.running("y"); x.Spec.NodeName == y.Spec.NodeName {
			w.t.Errorf("both on %s", x.Spec.NodeName)
		}
		w.createPod(lonely("z"))
		p := until(w, w.core, "pods", "z", func(p *corev1.Pod) bool { return len(p.Status.Conditions) > 0 })
		const want = "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules. preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod."
		if got := p.Status.Conditions[0].Message; got != want {
			w.t.Errorf("got %s", got)
		}
		taint := []byte(`{"spec":{"taints":[{"key":"gpu","value":"x","effect":"NoSchedule"}]}}`)
		for i := range list {
			if err := w.core.Patch(types.MergePatchType).Resource("nodes").Name(list[i].Name).Body(taint).Do(ctx).Error(); err != nil {
				w.t.Fatal(err)
			}
		}
		refused("tainted", "0/2 nodes are available: 2 node(s) had untolerated taint(s). preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.", func(*corev1.PodSpec) {})
		w.createPod(sh("tolerant", "true", func(s *corev1.PodSpec) {
			s.Tolerations = []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists}}
		}))
		until(w, w.core, "pods", "tolerant", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	})
}

// A node whose machine is gone is not ready, and a job whose pod was on it fails.
func TestLostNodes(t *testing.T) {
	inVirtualTime(t, 1, sandbox.Config{}, func(w *world) {
		w.createJob(job("j", 1, "sleep 1000"))
		n := w.nodes()[0]
		for {
			l := &corev1.PodList{}
			if err := w.core.Get().Namespace("default").Resource("pods").Do(w.t.Context()).Into(l); err != nil {
				w.t.Fatal(err)
			}
			if len(l.Items) == 1 && l.Items[0].Status.Phase == corev1.PodRunning {
				break
			}
		}
		w.s.RemoveMachine(n.Status.NodeInfo.MachineID)
		if j := until(w, w.batch, "jobs", "j", isOver); verdict(j) != "Failed BackoffLimitExceeded" {
			w.t.Errorf("got %+v", j.Status)
		}
		if n = w.nodes()[0]; n.Status.Conditions[3].Status != corev1.ConditionUnknown {
			w.t.Errorf("got %+v", n.Status.Conditions)
		}
	})
}
