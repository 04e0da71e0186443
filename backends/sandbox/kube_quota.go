package sandbox

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// quotaUse is what a pod takes of the resources that quotas limit.
func quotaUse(p *corev1.Pod) corev1.ResourceList {
	use := corev1.ResourceList{"pods": resource.MustParse("1"), "count/pods": resource.MustParse("1")}
	for n, q := range requests(p) {
		use["requests."+n] = q
		if n == corev1.ResourceCPU || n == corev1.ResourceMemory {
			use[n] = q
		}
	}
	for i := range p.Spec.Containers {
		for n, q := range p.Spec.Containers[i].Resources.Limits {
			have := use["limits."+n]
			have.Add(q)
			use["limits."+n] = have
		}
	}
	return use
}

// used is what the pods of a namespace that have not ended take of what a quota limits.
func (k *kube) used(q *corev1.ResourceQuota) corev1.ResourceList {
	out := corev1.ResourceList{}
	for n := range q.Spec.Hard {
		out[n] = resource.MustParse("0")
	}
	for _, p := range all[*corev1.Pod](k.st, pods, q.Namespace) {
		if ended(p) {
			continue
		}
		for n, v := range quotaUse(p) {
			if have, ok := out[n]; ok {
				have.Add(v)
				out[n] = have
			}
		}
	}
	return out
}

// withinQuota refuses a pod that a quota of its namespace has no room for. The caller holds k.mu.
func (k *kube) withinQuota(p *corev1.Pod) *apierrors.StatusError {
	want := quotaUse(p)
	for _, q := range all[*corev1.ResourceQuota](k.st, quotas, p.Namespace) {
		used := k.used(q)
		var asked, have, limit, missing []string
		for _, n := range sortedResources(q.Spec.Hard) {
			v, ok := want[n]
			hard, u := q.Spec.Hard[n], used[n]
			if !ok {
				if s := string(n); s == "cpu" || s == "memory" || s == "requests.cpu" || s == "requests.memory" || s == "limits.cpu" || s == "limits.memory" {
					missing = append(missing, s+" for: "+containerNames(p))
				}
				continue
			}
			sum := u.DeepCopy()
			sum.Add(v)
			if sum.Cmp(hard) > 0 {
				asked = append(asked, fmt.Sprintf("%s=%s", n, v.String()))
				have = append(have, fmt.Sprintf("%s=%s", n, u.String()))
				limit = append(limit, fmt.Sprintf("%s=%s", n, hard.String()))
			}
		}
		if len(missing) > 0 {
			return apierrors.NewForbidden(pods.gr(), p.Name, fmt.Errorf("failed quota: %s: must specify %s", q.Name, strings.Join(missing, "; ")))
		}
		if len(asked) > 0 {
			return apierrors.NewForbidden(pods.gr(), p.Name, fmt.Errorf("exceeded quota: %s, requested: %s, used: %s, limited: %s",
				q.Name, strings.Join(asked, ","), strings.Join(have, ","), strings.Join(limit, ",")))
		}
	}
	return nil
}

func containerNames(p *corev1.Pod) string {
	var out []string
	for i := range p.Spec.Containers {
		out = append(out, p.Spec.Containers[i].Name)
	}
	return strings.Join(out, ",")
}

// passQuotas writes what is used into the quotas.
func (k *kube) passQuotas() {
	for _, q := range all[*corev1.ResourceQuota](k.st, quotas, "") {
		if used := k.used(q); !equality.Semantic.DeepEqual(used, q.Status.Used) || !equality.Semantic.DeepEqual(q.Spec.Hard, q.Status.Hard) {
			edit(k.st, quotas, q, func(q *corev1.ResourceQuota) { q.Status = corev1.ResourceQuotaStatus{Hard: q.Spec.Hard, Used: used} })
		}
	}
}
