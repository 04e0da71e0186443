package kubernetes

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestALimitThatTheStudyDoesNotAskFor(t *testing.T) {
	for _, c := range []struct {
		name  string
		limit string // "": none
		asked int
		node  string
		want  string // ""; nothing is said
	}{
		{name: "none", node: "8"},
		{name: "the study's", limit: "4", asked: 4, node: "8"},
		{name: "the study's in other words", limit: "4000m", asked: 4, node: "8"},
		{name: "a default", limit: "500m", node: "8", want: "CPU limit 500m where the study asks for none"},
		{name: "a default on an unknown node", limit: "64", want: "CPU limit 64 where the study asks for none"},
		{name: "a default as large as the node", limit: "8", node: "7910m"},
		{name: "less", limit: "2", asked: 4, node: "8", want: "CPU limit 2 where the study asks for 4"},
		{name: "more", limit: "8", asked: 4, node: "8", want: "CPU limit 8 where the study asks for 4"},
		{name: "taken away", asked: 4, node: "8", want: "no CPU limit where the study asks for 4"},
	} {
		p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "sidecar", Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"cpu": resource.MustParse("1")}}}, {Name: process}}}}
		if c.limit != "" {
			p.Spec.Containers[1].Resources.Limits = corev1.ResourceList{"cpu": resource.MustParse(c.limit)}
		}
		s := &spot{}
		if c.node != "" {
			s.machine.Facts = map[string]string{"node.cpus": c.node}
		}
		if got := otherCPUs(p, c.asked, s.nodeCPUs()); !strings.HasPrefix(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("%s: got %q; want %q", c.name, got, c.want)
		}
	}
}
