package kubernetes

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"dlx.dev/dlx/backends"
)

// something is an object of an owner, with its kind.
type something struct {
	metav1.Object
	kind kind
}

// noted reports whether the ledger was told of a thing like this. Jobs and their pods are not:
// they come and go with the processes of a fleet, and belong to its ConfigMap.
func (s something) noted() bool {
	return s.kind != jobs && s.kind != jobSets && (s.kind != pods || s.GetLabels()[labelPart] == holder)
}

// listOwned lists what exists for an owner in the namespace.
func (c *cluster) listOwned(ctx context.Context, o backends.Owner) ([]something, error) {
	var maps corev1.ConfigMapList
	var svcs corev1.ServiceList
	var ps corev1.PodList
	var js batchv1.JobList
	opts := metav1.ListOptions{LabelSelector: selector(o)}
	var all errgroup.Group
	all.Go(func() error { return c.fail(ctx, "list configmaps", c.list(ctx, configMaps, c.ns, opts, &maps)) })
	all.Go(func() error { return c.fail(ctx, "list services", c.list(ctx, services, c.ns, opts, &svcs)) })
	all.Go(func() error { return c.fail(ctx, "list pods", c.list(ctx, pods, c.ns, opts, &ps)) })
	all.Go(func() error { return c.fail(ctx, "list jobs", c.list(ctx, jobs, c.ns, opts, &js)) })
	var sets jobSetList
	all.Go(func() error {
		if use, err := c.useOfSets(ctx); err != nil || !use.allowed() {
			return err
		}
		return c.fail(ctx, "list jobsets", c.list(ctx, jobSets, c.ns, opts, &sets))
	})
	if err := all.Wait(); err != nil {
		return nil, err
	}
	var out []something
	for i := range sets.Items {
		out = append(out, something{&sets.Items[i], jobSets})
	}
	for i := range maps.Items {
		out = append(out, something{&maps.Items[i], configMaps})
	}
	for i := range svcs.Items {
		out = append(out, something{&svcs.Items[i], services})
	}
	for i := range ps.Items {
		out = append(out, something{&ps.Items[i], pods})
	}
	for i := range js.Items {
		out = append(out, something{&js.Items[i], jobs})
	}
	return out, nil
}

// ownNamespace gives the namespace if the run made it.
func (c *cluster) ownNamespace(ctx context.Context, o backends.Owner) (*corev1.Namespace, error) {
	var ns corev1.Namespace
	err := c.get(ctx, namespaces, "", c.ns, &ns)
	switch {
	case notFound(err), forbidden(err):
		return nil, nil
	case err != nil:
		return nil, c.fail(ctx, "namespace "+c.ns, err)
	case ns.Labels[labelManager] != manager || ns.Labels[labelRun] != label(o.Run):
		return nil, nil
	}
	return &ns, nil
}

// Release removes everything of an owner: first the processes, then what they left on the nodes,
// while there are holders to do it, then all that belongs to the fleets' ConfigMaps.
func (p *provider) Release(ctx context.Context, o backends.Owner, l backends.Ledger) error {
	if err := checkOwner(o, false); err != nil {
		return backends.Errorf(backends.Internal, "release", "%w", err)
	}
	c, err := p.l.cluster(ctx, p.kubeconfig, p.namespaceOf(o.Run))
	if err != nil {
		return err
	}
	ctx = quiet(ctx, c.log)
	// Requests under way come first: what they make has to be seen.
	for _, name := range p.l.making.Names() {
		if words := strings.Fields(name); len(words) == 3 && words[0] == c.ns && words[1] == o.Run && (o.Fleet == "" || o.Fleet == words[2]) {
			leave, err := p.l.making.Enter(ctx, name)
			if err != nil {
				return err
			}
			leave()
		}
	}
	all, err := c.listOwned(ctx, o)
	if err != nil {
		return err
	}
	if err := c.removeJobs(ctx, o, all); err != nil {
		return err
	}
	c.eraseScratch(ctx, all)
	if err := c.removeFleets(ctx, o, all, l); err != nil {
		return err
	}
	return c.removeNamespace(ctx, o, l)
}

// removeJobs deletes the Jobs of an owner, JobSets first, for they make theirs again, and waits until
// their pods are gone. In the background: that takes the cluster half as many writes a Job, and the
// pods are waited for anyway.
func (c *cluster) removeJobs(ctx context.Context, o backends.Owner, all []something) error {
	for _, r := range []kind{jobSets, jobs} {
		if err := c.removeAll(ctx, r, all); err != nil {
			return err
		}
	}
	return c.awaitGone(ctx, o, func(t something) bool { return !t.noted() }, all, nil)
}

// removeAll asks for the removal of things of a kind.
func (c *cluster) removeAll(ctx context.Context, r kind, all []something) error {
	var work errgroup.Group
	work.SetLimit(16)
	for _, t := range all {
		if t.kind != r {
			continue
		}
		work.Go(func() error {
			err := c.remove(ctx, r, c.ns, t.GetName(), deletion(metav1.DeletePropagationBackground, t.GetUID()))
			if notFound(err) {
				return nil
			}
			return c.fail(ctx, "remove "+r.words()+" "+t.GetName(), err)
		})
	}
	return work.Wait()
}

// eraseScratch removes the folders of fleets from the nodes, by their holders. Where that fails
// they stay, and nothing else does.
func (c *cluster) eraseScratch(ctx context.Context, all []something) {
	ctx, cancel := context.WithTimeout(ctx, c.opt.Patience)
	defer cancel()
	var work errgroup.Group
	work.SetLimit(16)
	for _, t := range all {
		p, ok := t.Object.(*corev1.Pod)
		if !ok || p.Labels[labelPart] != holder || p.DeletionTimestamp != nil || !running(p) || len(p.Spec.Containers) == 0 || len(p.Spec.Containers[0].VolumeMounts) == 0 {
			continue
		}
		work.Go(func() error {
			var errs bytes.Buffer
			base := p.Spec.Containers[0].VolumeMounts[0].MountPath
			status, err := c.exec(ctx, command{ns: c.ns, pod: p.Name, stderr: &limitedBuffer{to: &errs, left: 4 << 10},
				words: []string{"/bin/sh", "-c", `rm -rf "$1/$2/$3"; rmdir "$1/$2" 2>/dev/null; :`, "dlx", base, p.Annotations[labelRun], p.Annotations[labelFleet]}})
			if err != nil || status != 0 || errs.Len() > 0 {
				c.log("scratch of %s on node %s is not removed: %v %s", p.Name, p.Spec.NodeName, err, clip(errs.String()))
			}
			return nil
		})
	}
	_ = work.Wait()
}

// removeFleets deletes the ConfigMaps that everything belongs to, waits until all is gone, and
// tells the ledger.
func (c *cluster) removeFleets(ctx context.Context, o backends.Owner, all []something, l backends.Ledger) error {
	for _, t := range all {
		if t.kind != configMaps {
			continue
		}
		if err := c.remove(ctx, configMaps, c.ns, t.GetName(), foreground(string(t.GetUID()))); err != nil && !notFound(err) {
			return c.fail(ctx, "remove configmap "+t.GetName(), err)
		}
	}
	return c.awaitGone(ctx, o, func(something) bool { return true }, all, l)
}

// awaitGone waits until nothing of an owner is left that counts, and tells the ledger of each
// thing that is gone, also of those in before.
func (c *cluster) awaitGone(ctx context.Context, o backends.Owner, counts func(something) bool, before []something, l backends.Ledger) error {
	open := map[string]something{}
	for _, t := range before {
		if counts(t) {
			open[t.kind.name+" "+t.GetName()] = t
		}
	}
	pause, told := 50*time.Millisecond, time.Now()
	for {
		if time.Since(told) > time.Minute {
			told = time.Now()
			c.log("release %s waits for %s", o.Fleet, kept(open))
		}
		if len(open) == 0 {
			return nil
		}
		c.awaitNoPods(ctx, o, counts)
		all, err := c.listOwned(ctx, o)
		if err != nil && ctx.Err() == nil {
			return err
		}
		there := map[string]something{}
		if err == nil {
			for _, t := range all {
				if counts(t) {
					there[t.kind.name+" "+t.GetName()] = t
				}
			}
			for key, t := range open {
				if _, still := there[key]; still {
					continue
				}
				delete(open, key)
				if l == nil || !t.noted() {
					continue
				}
				owner := backends.Owner{Run: o.Run, Fleet: t.GetAnnotations()[labelFleet]}
				if err := l.Gone(ctx, owner, backends.Object{Kind: t.kind.words(), Name: t.GetName(), ID: string(t.GetUID())}); err != nil {
					return err
				}
			}
			for key, t := range there { // what came meanwhile
				open[key] = t
			}
			if len(open) == 0 {
				return nil
			}
		}
		if !sleep(ctx, pause) {
			return backends.Errorf(backends.Infra, "release "+o.Fleet, "not gone: %s: %w", kept(open), context.Cause(ctx))
		}
		pause = min(2*pause, time.Second)
	}
}

// awaitNoPods returns when the watch shows no pod of an owner that counts, or after some seconds: a
// list tells for certain, and costs the cluster more than all that a release waits for.
func (c *cluster) awaitNoPods(ctx context.Context, o backends.Owner, counts func(something) bool) {
	const most = 5 * time.Second
	began := time.Now()
	_ = c.await(ctx, "release "+o.Fleet, func() (bool, time.Duration, error) {
		left := most - time.Since(began)
		none := !slices.ContainsFunc(c.pods.group(ownerKey(o)), func(p *corev1.Pod) bool { return counts(something{p, pods}) })
		return none || left <= 0, left, nil
	})
}

// kept says what keeps things.
func kept(open map[string]something) string {
	var words []string
	for key, t := range open {
		if f := t.GetFinalizers(); len(f) > 0 {
			key += " (finalizers " + strings.Join(f, ", ") + ")"
		}
		words = append(words, key)
	}
	if len(words) > 5 {
		words = append(words[:5], fmt.Sprintf("and %d more", len(words)-5))
	}
	return strings.Join(words, ", ")
}
