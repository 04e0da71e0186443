package kubernetes

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"dlx.dev/dlx/backends"
)

// ensureNamespace finds the namespace of a fleet, or makes it. One that is on its way out is
// waited for and made again.
func (c *cluster) ensureNamespace(ctx, stop context.Context, f *fleet) error {
	op := "create namespace " + f.ns
	pause := 100 * time.Millisecond
	for {
		var ns corev1.Namespace
		err := c.get(ctx, namespaces, "", f.ns, &ns)
		switch {
		case err == nil && ns.DeletionTimestamp == nil:
			return nil
		case err == nil:
			c.log("namespace %s is being removed, which is waited for", f.ns)
		case forbidden(err):
			f.unseen = err // a login for one namespace: whether it is there shows at the next request
			return nil
		case !notFound(err):
			return c.fail(ctx, op, err)
		default:
			return c.makeNamespace(ctx, stop, f, op)
		}
		select {
		case <-time.After(pause):
		case <-stop.Done():
			return fmt.Errorf("%s: %w", op, context.Cause(stop))
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", op, context.Cause(ctx))
		}
		pause = min(2*pause, 2*time.Second)
	}
}

func (c *cluster) makeNamespace(ctx, stop context.Context, f *fleet, op string) error {
	if stop.Err() != nil {
		return fmt.Errorf("%s: %w", op, context.Cause(stop))
	}
	run := backends.Owner{Run: f.owner.Run} // it is no fleet's
	note := backends.Object{Kind: namespaces.words(), Name: f.ns}
	if f.ledger != nil {
		if err := f.ledger.Intend(ctx, run, note); err != nil {
			return err
		}
	}
	m := meta(run, f.ns, f.until)
	m.Labels[labelRole] = "run"
	delete(m.Labels, labelFleet)
	delete(m.Annotations, labelFleet)
	ns := &corev1.Namespace{ObjectMeta: m}
	if err := c.create(ctx, namespaces, "", ns, ns); err != nil && !exists(err) {
		return c.fail(ctx, op, err)
	} else if err != nil {
		return backends.Errorf(backends.Infra, op, "somebody else made it meanwhile")
	}
	if f.ledger != nil {
		note.ID = string(ns.UID)
		return f.ledger.Made(ctx, run, note)
	}
	return nil
}

// removeNamespace removes the namespace when dlx made it and no fleet is left in it, now that those
// of an owner are gone. It holds its gate, so that no fleet begins in it meanwhile.
func (c *cluster) removeNamespace(ctx context.Context, o backends.Owner, l backends.Ledger) error {
	if c.inUse(o) {
		return nil
	}
	leave, err := c.making.Enter(ctx, c.ns)
	if err != nil {
		return err
	}
	defer leave()
	if c.inUse(o) {
		return nil
	}
	c.nsSeen = time.Time{}
	op := "remove namespace " + c.ns
	var ns corev1.Namespace
	err = c.get(ctx, namespaces, "", c.ns, &ns)
	if notFound(err) || forbidden(err) {
		return nil
	}
	if err != nil {
		return c.fail(ctx, op, err)
	}
	if ns.Labels[labelManager] != manager {
		return nil
	}
	if ns.DeletionTimestamp == nil {
		var left corev1.ConfigMapList
		if err := c.list(ctx, configMaps, c.ns, metav1.ListOptions{LabelSelector: labelManager + "=" + manager}, &left); err != nil {
			return c.fail(ctx, op, err)
		}
		if len(left.Items) > 0 {
			return nil
		}
		if err := c.remove(ctx, namespaces, "", c.ns, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &ns.UID}}); err != nil && !notFound(err) {
			return c.fail(ctx, op, err)
		}
	}
	pause := 100 * time.Millisecond
	for {
		var now corev1.Namespace
		err := c.get(ctx, namespaces, "", c.ns, &now)
		if notFound(err) || err == nil && now.UID != ns.UID {
			return l.Gone(ctx, backends.Owner{Run: o.Run}, backends.Object{Kind: namespaces.words(), Name: c.ns, ID: string(ns.UID)})
		}
		if err != nil && ctx.Err() == nil {
			return c.fail(ctx, op, err)
		}
		if !sleep(ctx, pause) {
			return backends.Errorf(backends.Infra, op, "it is not gone: %s: %w", namespaceKept(&now), context.Cause(ctx))
		}
		pause = min(2*pause, 2*time.Second)
	}
}

// inUse reports whether other fleets of the run are known to be in the namespace, so that nobody
// need ask: one that is being made, or one whose holders the watch shows.
func (c *cluster) inUse(o backends.Owner) bool {
	for _, name := range c.making.Names() {
		if ns, _, ok := strings.Cut(name, " "); ok && ns == c.ns {
			return true
		}
	}
	return o.Fleet != "" && slices.ContainsFunc(c.pods.group(ownerKey(backends.Owner{Run: o.Run})), func(p *corev1.Pod) bool {
		return p.Labels[labelPart] == holder && p.Labels[labelFleet] != label(o.Fleet) && p.DeletionTimestamp == nil
	})
}

// namespaceKept says in the cluster's words what keeps a namespace.
func namespaceKept(ns *corev1.Namespace) string {
	var words []string
	for _, f := range ns.Spec.Finalizers {
		words = append(words, "finalizer "+string(f))
	}
	for _, f := range ns.Finalizers {
		words = append(words, "finalizer "+f)
	}
	for _, cond := range ns.Status.Conditions {
		if cond.Status == corev1.ConditionTrue {
			words = append(words, cond.Reason+": "+clip(cond.Message))
		}
	}
	return strings.Join(words, "; ")
}
