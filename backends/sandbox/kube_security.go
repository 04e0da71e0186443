package sandbox

import (
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	psa "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// podSecurity judges pods as the API server's own plugin does.
var podSecurity = sync.OnceValues(func() (policy.Evaluator, error) { return policy.NewEvaluator(policy.DefaultChecks(), nil) })

// securityOf is what the labels of a namespace demand of the pods in it; without them, nothing.
func securityOf(ns *corev1.Namespace) (psa.LevelVersion, field.ErrorList) {
	none := psa.LevelVersion{Level: psa.LevelPrivileged, Version: psa.LatestVersion()}
	p, errs := psa.PolicyToEvaluate(ns.Labels, psa.Policy{Enforce: none, Audit: none, Warn: none})
	return p.Enforce, errs
}

// secure refuses a pod that does not meet the level of Pod Security which its namespace enforces. The
// caller holds k.mu.
func (k *kube) secure(p *corev1.Pod) *apierrors.StatusError {
	ns, ok := k.st.get(namespaces, "", p.Namespace).(*corev1.Namespace)
	if !ok {
		return nil
	}
	level, _ := securityOf(ns)
	judge, err := podSecurity()
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	if result := policy.AggregateCheckResults(judge.EvaluatePod(level, &p.ObjectMeta, &p.Spec)); !result.Allowed {
		return apierrors.NewForbidden(pods.gr(), p.Name, fmt.Errorf("violates PodSecurity %q: %s", level.String(), result.ForbiddenDetail()))
	}
	return nil
}
