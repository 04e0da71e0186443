package kubernetes

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"dlx.dev/dlx/backends"
)

// Make makes all that a run needs to go on in the cluster but its Job, or finds it. The namespace, if
// it is made, stays: others may put things into it.
func (d *Detached) Make(ctx context.Context, v Volume) error {
	ctx = quiet(ctx, d.c.log)
	claim, err := d.claim(v)
	if err != nil {
		return backends.Errorf(backends.Config, "claim "+d.Name(), "size %q: %w", v.Size, err)
	}
	// The machines of a run may forbid JobSets; its rights do not depend on that.
	sets, err := d.c.useOfSets(ctx)
	if err != nil {
		return err
	}
	role, err := d.role(sets.allowed())
	if err != nil {
		return backends.Errorf(backends.Internal, "role "+d.Name(), "%w", err)
	}
	if err := d.makeNamespace(ctx); err != nil {
		return err
	}
	owner := &corev1.ConfigMap{ObjectMeta: d.meta(), Data: d.data}
	if err := d.put(ctx, configMaps, owner); err != nil {
		return err
	}
	for _, x := range []struct {
		kind kind
		obj  thing
	}{{accounts, &corev1.ServiceAccount{ObjectMeta: d.meta()}}, {roles, role}, {roleBindings, d.binding()}, {claims, claim}} {
		x.obj.SetOwnerReferences(owned(metav1.ObjectMeta{}, owner).OwnerReferences)
		if err := d.put(ctx, x.kind, x.obj); err != nil {
			return err
		}
	}
	return nil
}

func (d *Detached) makeNamespace(ctx context.Context) error {
	op := "create namespace " + d.c.ns
	var ns corev1.Namespace
	err := d.c.get(ctx, namespaces, "", d.c.ns, &ns)
	switch {
	case forbidden(err): // whether it is there shows at the next request
		return nil
	case err == nil && ns.DeletionTimestamp != nil:
		return backends.Errorf(backends.Infra, op, "the one of before is still being removed")
	case !notFound(err):
		return d.c.fail(ctx, op, err)
	}
	m := metav1.ObjectMeta{Name: d.c.ns, Labels: map[string]string{"app.kubernetes.io/name": "dlx", labelManager: detacher}}
	err = d.c.create(ctx, namespaces, "", &corev1.Namespace{ObjectMeta: m}, &ns)
	if exists(err) {
		return nil
	}
	return d.c.fail(ctx, op, err)
}

// put finds an object of the run, or makes it, and reads it back.
func (d *Detached) put(ctx context.Context, r kind, obj thing) error {
	op := "create " + r.words() + " " + obj.GetName()
	err := d.c.get(ctx, r, d.c.ns, obj.GetName(), obj)
	if notFound(err) {
		if err = d.c.create(ctx, r, d.c.ns, obj, obj); exists(err) {
			err = d.c.get(ctx, r, d.c.ns, obj.GetName(), obj)
		}
	}
	switch {
	case err != nil:
		return d.c.fail(ctx, op, err)
	case obj.GetLabels()[labelManager] != detacher || obj.GetLabels()[labelRun] != label(d.run):
		return backends.Errorf(backends.Config, op, "there is one that is not dlx's")
	case obj.GetDeletionTimestamp() != nil:
		return backends.Errorf(backends.Infra, op, "the one of before is still being removed")
	}
	return nil
}

// Start makes the Job, whose pod runs words, and returns when that runs. Why it does not is an
// error; the Job stays, and goes on trying.
func (d *Detached) Start(ctx context.Context, words []string) (DetachedState, error) {
	ctx = quiet(ctx, d.c.log)
	op := "start job " + d.Name()
	var owner corev1.ConfigMap
	if err := d.c.get(ctx, configMaps, d.c.ns, d.Name(), &owner); err != nil {
		return DetachedState{}, d.c.fail(ctx, op, err)
	}
	j := d.job(words)
	j.ObjectMeta = owned(j.ObjectMeta, &owner)
	if err := d.put(ctx, jobs, j); err != nil {
		return DetachedState{}, err
	}
	began, pause := time.Now(), 200*time.Millisecond
	for {
		s, err := d.State(ctx)
		switch {
		case err != nil && !backends.ClassOf(err).Temporary():
			return s, err
		case err == nil && (s.Phase == DetachedRunning || s.Phase == DetachedEnded):
			return s, nil
		case time.Since(began) > d.c.opt.Mend:
			if err == nil {
				err = backends.Errorf(backends.Infra, op, "its pod does not run after %v: %s", d.c.opt.Mend, s.Why)
			}
			return s, err
		}
		if !sleep(ctx, pause) {
			return s, fmt.Errorf("%s: %w", op, context.Cause(ctx))
		}
		pause = min(2*pause, 2*time.Second)
	}
}

// Stop removes the Job and waits until its pods are gone. What they made stays, and so does the run
// folder.
func (d *Detached) Stop(ctx context.Context) error {
	ctx = quiet(ctx, d.c.log)
	err := d.c.remove(ctx, jobs, d.c.ns, d.Name(), foreground(""))
	if err != nil && !notFound(err) {
		return d.c.fail(ctx, "remove job "+d.Name(), err)
	}
	return d.awaitGone(ctx, jobs, pods)
}

// Remove removes all of the run, its folder in the cluster with it, and waits until it is gone. The
// namespace stays.
func (d *Detached) Remove(ctx context.Context) error {
	if err := d.Stop(ctx); err != nil {
		return err
	}
	ctx = quiet(ctx, d.c.log)
	err := d.c.remove(ctx, configMaps, d.c.ns, d.Name(), foreground(""))
	if err != nil && !notFound(err) {
		return d.c.fail(ctx, "remove configmap "+d.Name(), err)
	}
	return d.awaitGone(ctx, claims, roleBindings, roles, accounts, configMaps)
}

// awaitGone waits until nothing of some kinds is left of the run.
func (d *Detached) awaitGone(ctx context.Context, some ...kind) error {
	pause := 50 * time.Millisecond
	for {
		var left []string
		for _, k := range some {
			names, err := d.names(ctx, k)
			if err != nil && ctx.Err() == nil {
				return err
			}
			left = append(left, names...)
		}
		if len(left) == 0 && ctx.Err() == nil {
			return nil
		}
		if !sleep(ctx, pause) {
			return backends.Errorf(backends.Infra, "remove "+d.Name(), "not gone: %s: %w", strings.Join(left, ", "), context.Cause(ctx))
		}
		pause = min(2*pause, time.Second)
	}
}

// names lists the run's objects of a kind.
func (d *Detached) names(ctx context.Context, k kind) ([]string, error) {
	lists := map[kind]runtime.Object{
		pods: &corev1.PodList{}, jobs: &batchv1.JobList{}, claims: &corev1.PersistentVolumeClaimList{}, configMaps: &corev1.ConfigMapList{},
		accounts: &corev1.ServiceAccountList{}, roles: &rbacv1.RoleList{}, roleBindings: &rbacv1.RoleBindingList{},
	}
	if err := d.c.list(ctx, k, d.c.ns, metav1.ListOptions{LabelSelector: d.selector()}, lists[k]); err != nil {
		return nil, d.c.fail(ctx, "list "+k.name, err)
	}
	var out []string
	err := apimeta.EachListItem(lists[k], func(o runtime.Object) error {
		out = append(out, k.words()+" "+o.(metav1.Object).GetName())
		return nil
	})
	slices.Sort(out)
	return out, err
}
