package sandbox_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"dlx.dev/dlx/backends/sandbox"
)

func TestLimitRanges(t *testing.T) {
	cpus := func(q string) corev1.ResourceList { return corev1.ResourceList{"cpu": resource.MustParse(q)} }
	inVirtualTime(t, 1, sandbox.Config{}, func(w *world) {
		ctx := w.t.Context()
		for _, c := range []struct {
			name  string
			item  corev1.LimitRangeItem
			pod   func(*corev1.PodSpec)
			want  string // of the refusal
			limit string
			set   string // in the annotation
		}{
			{name: "default", item: corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Default: cpus("500m")}, limit: "500m", set: "cpu request for container main; cpu limit for container main"},
			{name: "its own", item: corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Default: cpus("500m")}, pod: limited("1"), limit: "1"},
			{name: "maximum", item: corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Max: cpus("500m")}, limit: "500m", set: "cpu request for container main; cpu limit for container main"},
			{name: "more", item: corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Max: cpus("500m")}, pod: limited("1"),
				want: `pods "p" is forbidden: maximum cpu usage per Container is 500m, but limit is 1`},
			{name: "less", item: corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Min: cpus("2")}, pod: limited("1"),
				want: `pods "p" is forbidden: minimum cpu usage per Container is 2, but request is 1`},
			{name: "pod", item: corev1.LimitRangeItem{Type: corev1.LimitTypePod, Max: cpus("500m")},
				want: `pods "p" is forbidden: maximum cpu usage per Pod is 500m.  No limit is specified`},
			{name: "ratio", item: corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, MaxLimitRequestRatio: cpus("2")}, pod: func(s *corev1.PodSpec) {
				s.Containers[0].Resources = corev1.ResourceRequirements{Requests: cpus("1"), Limits: cpus("3")}
			}, want: `pods "p" is forbidden: cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000`},
			{name: "both", item: corev1.LimitRangeItem{Type: corev1.LimitTypePod, Max: cpus("500m"), Min: cpus("2")}, pod: limited("1"),
				want: `pods "p" is forbidden: [minimum cpu usage per Pod is 2, but request is 1, maximum cpu usage per Pod is 500m, but limit is 1]`},
		} {
			r := &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: "limits"}, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{c.item}}}
			if err := w.core.Post().Namespace("default").Resource("limitranges").Body(r).Do(ctx).Error(); err != nil {
				w.t.Fatal(err)
			}
			p := sh("p", "true")
			if c.pod != nil {
				c.pod(&p.Spec)
			}
			err := w.core.Post().Namespace("default").Resource("pods").Param("dryRun", metav1.DryRunAll).Body(p).Do(ctx).Into(p)
			switch {
			case c.want != "":
				if !apierrors.IsForbidden(err) || err.Error() != c.want {
					w.t.Errorf("%s: got %v; want %s", c.name, err, c.want)
				}
			case err != nil:
				w.t.Errorf("%s: %v", c.name, err)
			default:
				if got := p.Spec.Containers[0].Resources.Limits.Cpu().String(); got != c.limit {
					w.t.Errorf("%s: got limit %s; want %s", c.name, got, c.limit)
				}
				if got := strings.TrimPrefix(p.Annotations["kubernetes.io/limit-ranger"], "LimitRanger plugin set: "); got != c.set {
					w.t.Errorf("%s: LimitRanger says %q; want %q", c.name, got, c.set)
				}
			}
			if err := w.core.Delete().Namespace("default").Resource("limitranges").Name("limits").Do(ctx).Error(); err != nil {
				w.t.Fatal(err)
			}
		}
	})
}

func limited(q string) func(*corev1.PodSpec) {
	return func(s *corev1.PodSpec) {
		s.Containers[0].Resources.Limits = corev1.ResourceList{"cpu": resource.MustParse(q)}
	}
}

func TestLevelsOfPodSecurity(t *testing.T) {
	inVirtualTime(t, 1, sandbox.Config{}, func(w *world) {
		ctx := w.t.Context()
		for level, want := range map[string]string{
			"privileged": "", "baseline": `violates PodSecurity "baseline:latest": hostPath volumes (volume "disk")`, "restricted": `violates PodSecurity "restricted:latest": `,
			"strict": `metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "strict"`,
		} {
			ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: level, Labels: map[string]string{"pod-security.kubernetes.io/enforce": level}}}
			err := w.core.Post().Resource("namespaces").Body(ns).Do(ctx).Error()
			if err == nil {
				err = w.core.Post().Namespace(level).Resource("pods").Param("dryRun", metav1.DryRunAll).Body(sh("p", "true", func(s *corev1.PodSpec) {
					s.Volumes = []corev1.Volume{{Name: "disk", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/disk"}}}}
				})).Do(ctx).Error()
			}
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				w.t.Errorf("%s: got %v; want %q", level, err, want)
			}
		}
		p := sh("p", "true", func(s *corev1.PodSpec) {
			s.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](1000), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}}
			s.Containers[0].SecurityContext = &corev1.SecurityContext{AllowPrivilegeEscalation: ptr.To(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}}
		})
		if err := w.core.Post().Namespace("restricted").Resource("pods").Body(p).Do(ctx).Error(); err != nil {
			w.t.Error(err)
		}
	})
}

func TestEviction(t *testing.T) {
	inVirtualTime(t, 1, sandbox.Config{}, func(w *world) {
		ctx := w.t.Context()
		w.createPod(sh("p", "sleep 1000"))
		w.running("p")
		evict := func() error {
			return w.core.Post().Namespace("default").Resource("pods").Name("p").SubResource("eviction").SetHeader("Content-Type", "application/json").
				Body([]byte(`{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}`)).Do(ctx).Error()
		}
		if err := evict(); err != nil {
			w.t.Fatal(err)
		}
		p := &corev1.Pod{}
		if err := w.core.Get().Namespace("default").Resource("pods").Name("p").Do(ctx).Into(p); err != nil || p.DeletionTimestamp == nil {
			w.t.Fatalf("got %+v, %v", p.ObjectMeta, err)
		}
		said := ""
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.DisruptionTarget {
				said = c.Reason + ": " + c.Message
			}
		}
		if said != "EvictionByEvictionAPI: Eviction API: evicting" {
			w.t.Errorf("got condition %q", said)
		}
		w.gone(func() error { return w.core.Get().Namespace("default").Resource("pods").Name("p").Do(ctx).Error() })
		if err := evict(); !apierrors.IsNotFound(err) {
			w.t.Errorf("got %v", err)
		}
	})
}
