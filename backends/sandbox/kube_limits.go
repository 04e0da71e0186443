package sandbox

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
)

// limitsKey is the annotation in which the admission plugin LimitRanger says what it has set.
const limitsKey = "kubernetes.io/limit-ranger"

// limitRangeDefaults are those of the API server: what has a maximum has it as its default, too, and
// a request is by default the limit, or else the minimum.
func limitRangeDefaults(o *corev1.LimitRange) {
	for i := range o.Spec.Limits {
		l := &o.Spec.Limits[i]
		if l.Type == corev1.LimitTypeContainer {
			addMissing(&l.Default, l.Max)
			addMissing(&l.DefaultRequest, l.Default)
			addMissing(&l.DefaultRequest, l.Min)
		}
	}
}

// addMissing adds what is missing of other resources, and gives the names of what it added.
func addMissing(into *corev1.ResourceList, from corev1.ResourceList) (added []string) {
	for _, n := range sortedResources(from) {
		if _, ok := (*into)[n]; ok {
			continue
		}
		if *into == nil {
			*into = corev1.ResourceList{}
		}
		(*into)[n] = from[n]
		added = append(added, string(n))
	}
	return added
}

// setLimits gives the containers of a new pod what the limit ranges of its namespace have for those that
// say nothing. The caller holds k.mu.
func (k *kube) setLimits(p *corev1.Pod) {
	for _, r := range all[*corev1.LimitRange](k.st, limitRanges, p.Namespace) {
		limits, requests := corev1.ResourceList{}, corev1.ResourceList{}
		for i := range r.Spec.Limits {
			if l := &r.Spec.Limits[i]; l.Type == corev1.LimitTypeContainer {
				maps.Copy(limits, l.Default)
				maps.Copy(requests, l.DefaultRequest)
			}
		}
		var said []string
		give := func(what string, list []corev1.Container) {
			for i := range list {
				c := &list[i]
				if set := addMissing(&c.Resources.Requests, requests); len(set) > 0 {
					said = append(said, strings.Join(set, ", ")+" request for "+what+" "+c.Name)
				}
				if set := addMissing(&c.Resources.Limits, limits); len(set) > 0 {
					said = append(said, strings.Join(set, ", ")+" limit for "+what+" "+c.Name)
				}
			}
		}
		give("container", p.Spec.Containers)
		give("init container", p.Spec.InitContainers)
		if len(said) > 0 {
			if p.Annotations == nil {
				p.Annotations = map[string]string{}
			}
			p.Annotations[limitsKey] = "LimitRanger plugin set: " + strings.Join(said, "; ")
		}
	}
	p.Status.QOSClass = qosClass(&p.Spec)
}

// withinLimits refuses a pod that a limit range of its namespace does not allow. The caller holds k.mu.
func (k *kube) withinLimits(p *corev1.Pod) *apierrors.StatusError {
	for _, r := range all[*corev1.LimitRange](k.st, limitRanges, p.Namespace) {
		var errs []error
		for i := range r.Spec.Limits {
			switch l := &r.Spec.Limits[i]; l.Type {
			case corev1.LimitTypeContainer:
				for _, c := range slices.Concat(p.Spec.Containers, p.Spec.InitContainers) {
					errs = append(errs, beyond(l, c.Resources.Requests, c.Resources.Limits)...)
				}
			case corev1.LimitTypePod:
				requests, limits := corev1.ResourceList{}, corev1.ResourceList{}
				for i := range p.Spec.Containers {
					addResources(requests, p.Spec.Containers[i].Resources.Requests)
					addResources(limits, p.Spec.Containers[i].Resources.Limits)
				}
				errs = append(errs, beyond(l, requests, limits)...)
			case corev1.LimitTypePersistentVolumeClaim: // of claims, which the sandbox does not measure
			}
		}
		if err := utilerrors.NewAggregate(errs); err != nil {
			return apierrors.NewForbidden(pods.gr(), p.Name, err)
		}
	}
	return nil
}

func addResources(to, more corev1.ResourceList) {
	for n, q := range more {
		sum := to[n]
		sum.Add(q)
		to[n] = sum
	}
}

// beyond says, in the words of LimitRanger, what exceeds a limit.
func beyond(l *corev1.LimitRangeItem, requests, limits corev1.ResourceList) []error {
	var errs []error
	missing := func(bound string, n corev1.ResourceName, q resource.Quantity, what string) {
		errs = append(errs, fmt.Errorf("%s %s usage per %s is %s.  No %s is specified", bound, n, l.Type, q.String(), what))
	}
	differs := func(bound string, n corev1.ResourceName, q resource.Quantity, what string, has resource.Quantity) {
		errs = append(errs, fmt.Errorf("%s %s usage per %s is %s, but %s is %s", bound, n, l.Type, q.String(), what, has.String()))
	}
	for _, n := range sortedResources(l.Min) {
		least := l.Min[n]
		request, requested := requests[n]
		limit, limited := limits[n]
		switch {
		case !requested:
			missing("minimum", n, least, "request")
		case request.Cmp(least) < 0:
			differs("minimum", n, least, "request", request)
		case limited && limit.Cmp(least) < 0:
			differs("minimum", n, least, "limit", limit)
		}
	}
	for _, n := range sortedResources(l.Max) {
		most := l.Max[n]
		request, requested := requests[n]
		limit, limited := limits[n]
		switch {
		case !limited:
			missing("maximum", n, most, "limit")
		case limit.Cmp(most) > 0:
			differs("maximum", n, most, "limit", limit)
		case requested && request.Cmp(most) > 0:
			differs("maximum", n, most, "request", request)
		}
	}
	for _, n := range sortedResources(l.MaxLimitRequestRatio) {
		ratio := l.MaxLimitRequestRatio[n]
		rule := fmt.Sprintf("%s max limit to request ratio per %s is %s, but ", n, l.Type, ratio.String())
		request, limit := requests[n], limits[n]
		switch {
		case request.IsZero():
			errs = append(errs, errors.New(rule+"no request is specified or request is 0"))
		case limit.IsZero():
			errs = append(errs, errors.New(rule+"no limit is specified or limit is 0"))
		case limit.AsApproximateFloat64()/request.AsApproximateFloat64() > ratio.AsApproximateFloat64():
			errs = append(errs, fmt.Errorf("%sprovided ratio is %f", rule, limit.AsApproximateFloat64()/request.AsApproximateFloat64()))
		}
	}
	return errs
}
