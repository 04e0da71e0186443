package kubernetes

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"dlx.dev/dlx/backends"
)

// admission has the cluster judge pods like those of a fleet without making them (dryRun=All): what its
// admission plugins refuse, such as levels of Pod Security and limit ranges, and what they change. What a
// run's own namespace will be like, nobody knows.
func (c *inspection) admission(ctx context.Context, s *spotCheck) error {
	if c.ns == "" || c.missing {
		return nil
	}
	m := backends.Machine{Name: "check"}
	at := &spot{machine: m, pod: *s.pod, holder: "dlx-check", at: &backends.Kubernetes{
		Namespace: c.ns, Owner: backends.Owner{Run: "check", Fleet: c.needs[s.need].Fleet}, Hosts: s.hosts, Node: "check"}}
	g := backends.Single(m, backends.Process{ID: "check", Args: []string{"true"}, CPUs: s.load.CPUs, GPUs: s.load.GPUs, MemoryMiB: s.load.MemoryMiB})
	if s.load.Processes > 1 { // which has how much is not known
		g.CPUs, g.GPUs, g.MemoryMiB = min(g.CPUs, 1), min(g.GPUs, 1), min(g.MemoryMiB, 1)
	}
	all := []*corev1.Pod{holderPod(at, time.Time{})}
	if s.load.Processes > 0 { // else what is put onto it is not known
		tmpl := job(&g, []*spot{at}, []string{"check"}).Spec.Template
		all = append(all, &corev1.Pod{ObjectMeta: tmpl.ObjectMeta, Spec: tmpl.Spec})
	}
	for _, p := range all {
		p.Name, p.GenerateName = "", "dlx-check-"
		var got corev1.Pod
		err := c.at(c.core.Post(), pods, c.ns).Param("dryRun", metav1.DryRunAll).Param("fieldManager", manager).Body(p).Do(ctx).Into(&got)
		if why := c.refused(err); why != "" {
			c.finding(s.need, s.machine, "", "namespace %q refuses its pods: %s", c.ns, why)
			return nil
		}
		if err != nil {
			return ignoreUnknown(c.fail(ctx, "ask what pods the namespace takes", err))
		}
		if why := otherCPUs(&got, g.CPUs, c.largest()); why != "" {
			c.finding(s.need, s.machine, "", "namespace %q changes the pods of its processes: %s", c.ns, why)
		}
	}
	return nil
}

// ignoreUnknown leaves of the errors of a question those that keep the cluster from being asked at all.
func ignoreUnknown(err error) error {
	if backends.ClassOf(err) == backends.Transport {
		return err
	}
	return nil
}

// refused says why the cluster takes no such pod; "": it takes it, or another question is answered, for
// rights and quotas are compared by themselves.
func (c *inspection) refused(err error) string {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return ""
	}
	words := status.Status().Message
	switch code := int(status.Status().Code); {
	case code != http.StatusForbidden && code != http.StatusUnprocessableEntity,
		strings.Contains(words, "cannot create resource"), strings.Contains(words, "exceeded quota"):
		return ""
	case strings.Contains(words, "violates PodSecurity"):
		return clip(words) + `: with "user" and a claim for "scratch" they meet every level, but for what else the machine asks for`
	}
	return clip(words)
}

// largest is the most CPUs that a node has for pods; 0: not known.
func (c *inspection) largest() (most resource.Quantity) {
	for i := range c.nodes {
		if q := c.nodes[i].Status.Allocatable.Cpu(); q.Cmp(most) > 0 {
			most = *q
		}
	}
	return most
}
