package sandbox

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// deleteOptions reads those of the body, or of the query.
func (c *call) deleteOptions() (*metav1.DeleteOptions, *apierrors.StatusError) {
	o := &metav1.DeleteOptions{}
	if len(c.body) > 0 {
		if err := json.Unmarshal(c.body, o); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
	}
	q := c.r.URL.Query()
	if n, err := strconv.ParseInt(q.Get("gracePeriodSeconds"), 10, 64); err == nil && o.GracePeriodSeconds == nil {
		o.GracePeriodSeconds = &n
	}
	if p := metav1.DeletionPropagation(q.Get("propagationPolicy")); p != "" && o.PropagationPolicy == nil {
		o.PropagationPolicy = &p
	}
	o.DryRun = append(o.DryRun, q["dryRun"]...)
	switch p := ptr.Deref(o.PropagationPolicy, metav1.DeletePropagationBackground); p {
	case metav1.DeletePropagationBackground, metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan:
	default:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: %q", p))
	}
	return o, nil
}

func (c *call) delete() *apierrors.StatusError {
	opts, err := c.deleteOptions()
	if err != nil {
		return err
	}
	if c.kind == jobs && opts.PropagationPolicy == nil && (opts.OrphanDependents == nil || !*opts.OrphanDependents) { //nolint:staticcheck // old clients still send it
		c.w.Header().Add("Warning", `299 - "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning"`)
		opts.PropagationPolicy = ptr.To(metav1.DeletePropagationOrphan)
	}
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	o := c.k.st.get(c.kind, c.namespace, c.name)
	if o == nil {
		return apierrors.NewNotFound(c.kind.gr(), c.name)
	}
	if p := opts.Preconditions; p != nil {
		if p.UID != nil && *p.UID != o.GetUID() {
			return apierrors.NewConflict(c.kind.gr(), c.name, fmt.Errorf("the UID in the precondition (%s) does not match the UID in record (%s). The object might have been deleted and then recreated", *p.UID, o.GetUID()))
		}
		if p.ResourceVersion != nil && *p.ResourceVersion != o.GetResourceVersion() {
			return apierrors.NewConflict(c.kind.gr(), c.name, fmt.Errorf("the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s). The object might have been modified", *p.ResourceVersion, o.GetResourceVersion()))
		}
	}
	gone := false
	if len(opts.DryRun) == 0 {
		o, gone = c.k.delete(c.kind, o, opts)
	}
	if gone && c.kind != pods {
		c.send(http.StatusOK, metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess,
			Details: &metav1.StatusDetails{Name: c.name, Group: c.kind.group, Kind: c.kind.resource, UID: o.GetUID()}})
		return nil
	}
	raw, e := json.Marshal(bare(o))
	if e != nil {
		return apierrors.NewInternalError(e)
	}
	c.sendRaw(http.StatusOK, c.kind, raw)
	return nil
}

// evict deletes a pod as a node that is drained does, and says so in its conditions. There are no budgets of
// disruptions that would be asked.
func (c *call) evict() {
	if err := c.read(); err != nil {
		c.fail(err)
		return
	}
	var e policyv1.Eviction
	if err := json.Unmarshal(c.body, &e); err != nil {
		c.fail(apierrors.NewBadRequest(err.Error()))
		return
	}
	opts := e.DeleteOptions
	if opts == nil {
		opts = &metav1.DeleteOptions{}
	}
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	p, ok := c.k.st.get(c.kind, c.namespace, c.name).(*corev1.Pod)
	if !ok {
		c.fail(apierrors.NewNotFound(c.kind.gr(), c.name))
		return
	}
	if len(opts.DryRun) == 0 {
		c.k.delete(pods, edit(c.k.st, pods, p, func(p *corev1.Pod) {
			p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
				Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting", LastTransitionTime: metav1.NewTime(time.Now().Truncate(time.Second))})
		}), opts)
	}
	c.send(http.StatusCreated, metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess, Code: http.StatusCreated})
}

func (c *call) deleteAll(ctx context.Context) *apierrors.StatusError {
	opts, err := c.deleteOptions()
	if err != nil {
		return err
	}
	sel, err := c.selector()
	if err != nil {
		return err
	}
	c.k.mu.Lock()
	for _, r := range c.k.st.list(c.kind, c.namespace) {
		if sel.fits(r.obj) && len(opts.DryRun) == 0 {
			c.k.delete(c.kind, r.obj, opts)
		}
	}
	c.k.mu.Unlock()
	c.body = nil
	return c.list(ctx)
}

// delete begins the end of an object, and reports whether that is over already. The caller holds
// k.mu.
func (k *kube) delete(kd *kind, o object, opts *metav1.DeleteOptions) (object, bool) {
	grace := int64(0)
	p, isPod := o.(*corev1.Pod)
	if isPod {
		grace = ptr.Deref(opts.GracePeriodSeconds, ptr.Deref(p.Spec.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds))
		if p.Spec.NodeName == "" || ended(p) {
			grace = 0
		}
		if p.DeletionTimestamp != nil && p.DeletionGracePeriodSeconds != nil {
			grace = min(grace, *p.DeletionGracePeriodSeconds) // it may only become sooner
		}
	}
	c, _ := o.DeepCopyObject().(object)
	now := metav1.NewTime(time.Now().Add(time.Duration(grace) * time.Second).Truncate(time.Second))
	if c.GetDeletionTimestamp() == nil || isPod && grace < ptr.Deref(c.GetDeletionGracePeriodSeconds(), 0) {
		c.SetDeletionTimestamp(&now)
		c.SetDeletionGracePeriodSeconds(&grace)
		if c.GetGeneration() > 0 && o.GetDeletionTimestamp() == nil {
			c.SetGeneration(c.GetGeneration() + 1)
		}
		finalizer := ""
		switch ptr.Deref(opts.PropagationPolicy, metav1.DeletePropagationBackground) {
		case metav1.DeletePropagationForeground:
			finalizer = metav1.FinalizerDeleteDependents
		case metav1.DeletePropagationOrphan:
			finalizer = metav1.FinalizerOrphanDependents
		case metav1.DeletePropagationBackground:
		}
		if finalizer != "" && !slices.Contains(c.GetFinalizers(), finalizer) {
			c.SetFinalizers(append(c.GetFinalizers(), finalizer))
		}
	}
	if n, ok := c.(*corev1.Namespace); ok {
		n.Status.Phase = corev1.NamespaceTerminating
	}
	if len(c.GetFinalizers()) == 0 && grace == 0 && kd != namespaces {
		k.st.remove(kd, o)
		return c, true
	}
	k.st.put(kd, c)
	return c, false
}

// settle takes an object out for whose end nothing is missing any more. The caller holds k.mu.
func (k *kube) settle(kd *kind, o object) {
	if o.GetDeletionTimestamp() == nil || len(o.GetFinalizers()) > 0 || ptr.Deref(o.GetDeletionGracePeriodSeconds(), 0) > 0 {
		return
	}
	if n, ok := o.(*corev1.Namespace); ok && len(n.Spec.Finalizers) > 0 {
		return
	}
	k.st.remove(kd, o)
}

// passGarbage does what the garbage collector does: what is owned goes when no owner is left, or
// before its owner, or is set free.
func (k *kube) passGarbage() {
	for again := true; again; {
		again = false
		blocked := map[string]bool{} // UIDs of owners that something keeps
		for _, r := range k.st.owned() {
			if uid := r.obj.GetUID(); k.st.byUID[uid] == r && k.collect(k.st.kindOf[uid], r.obj, blocked) {
				again = true
			}
		}
		if again {
			continue // who blocks whom is known when nothing changes any more
		}
		for uid, r := range k.st.byUID {
			o, kd := r.obj, k.st.kindOf[uid]
			if o.GetDeletionTimestamp() == nil || blocked[string(uid)] {
				continue
			}
			left := slices.DeleteFunc(slices.Clone(o.GetFinalizers()), func(f string) bool {
				return f == metav1.FinalizerDeleteDependents || f == metav1.FinalizerOrphanDependents
			})
			if len(left) != len(o.GetFinalizers()) {
				k.settle(kd, edit(k.st, kd, o, func(o object) { o.SetFinalizers(left) }))
				again = true
			}
		}
	}
}

// collect looks at the owners of one object, and reports whether it changed anything.
func (k *kube) collect(kd *kind, o object, blocked map[string]bool) bool {
	refs := o.GetOwnerReferences()
	if len(refs) == 0 {
		return false
	}
	var stay []metav1.OwnerReference
	living, waiting, free := 0, false, false
	for _, ref := range refs {
		r := k.st.byUID[ref.UID]
		switch {
		case kindNamed(ref.APIVersion, ref.Kind) == nil: // not ours to know
			living++
		case r == nil || r.obj.GetNamespace() != "" && r.obj.GetNamespace() != o.GetNamespace():
			continue
		case slices.Contains(r.obj.GetFinalizers(), metav1.FinalizerOrphanDependents) && r.obj.GetDeletionTimestamp() != nil:
			free = true
			continue
		case slices.Contains(r.obj.GetFinalizers(), metav1.FinalizerDeleteDependents) && r.obj.GetDeletionTimestamp() != nil:
			waiting = true
			if ptr.Deref(ref.BlockOwnerDeletion, false) {
				blocked[string(ref.UID)] = true
			}
		default:
			living++
		}
		stay = append(stay, ref)
	}
	switch {
	case living > 0 || free:
		if len(stay) == len(refs) {
			return false
		}
		edit(k.st, kd, o, func(o object) { o.SetOwnerReferences(stay) })
		return true
	case o.GetDeletionTimestamp() != nil:
		return false
	case waiting && k.hasBlockers(o):
		k.delete(kd, o, &metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationForeground)})
	default:
		k.delete(kd, o, &metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)})
	}
	return true
}

// hasBlockers reports whether something that o owns has to go before it.
func (k *kube) hasBlockers(o object) bool {
	for _, r := range k.st.byUID {
		for _, ref := range r.obj.GetOwnerReferences() {
			if ref.UID == o.GetUID() && ptr.Deref(ref.BlockOwnerDeletion, false) {
				return true
			}
		}
	}
	return false
}

// ended reports whether a pod will not run again.
func ended(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

func finished(j *batchv1.Job) bool {
	return jobCondition(j, batchv1.JobComplete) || jobCondition(j, batchv1.JobFailed)
}
