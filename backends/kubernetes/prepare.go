package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"dlx.dev/dlx/backends"
)

// A fleet is machines on their way.
type fleet struct {
	owner  backends.Owner
	ns     string
	spots  []*spot
	until  time.Time
	ledger backends.Ledger // nil: nobody notes what is made
	unseen error           // why nobody knows whether the namespace is there
}

// Prepare makes the holders of a fleet, or finds them.
func (l *Launcher) Prepare(ctx context.Context, ms []backends.Machine) ([]backends.Machine, error) {
	if len(ms) == 0 {
		return nil, nil
	}
	f := &fleet{}
	for _, m := range ms {
		s, err := spotOf(m)
		if err != nil {
			return nil, err
		}
		f.spots = append(f.spots, s)
	}
	first := f.spots[0].at
	f.owner, f.ns = first.Owner, first.Namespace
	if out := l.prepared(ctx, f); out != nil {
		return out, nil
	}
	return l.prepare(ctx, f)
}

func (l *Launcher) prepare(ctx context.Context, f *fleet) ([]backends.Machine, error) {
	op := "prepare " + f.owner.Fleet
	first := f.spots[0].at
	for i, s := range f.spots {
		if s.at.Owner != f.owner || s.at.Namespace != f.ns || string(s.at.Config) != string(first.Config) {
			return nil, backends.Errorf(backends.Internal, op, "machines of more than one fleet or cluster")
		}
		if slices.ContainsFunc(f.spots[:i], func(o *spot) bool { return o.machine.Name == s.machine.Name }) {
			return nil, backends.Errorf(backends.Internal, op, "machine %q twice", s.machine.Name)
		}
	}
	c, err := l.cluster(ctx, first.Config, f.ns)
	if err != nil {
		return nil, err
	}
	// Requests that are under way have arrived or not when ctx ends, and a release has to know:
	// it waits for the gate.
	leave, err := l.making.Enter(ctx, f.ns+" "+f.owner.Run+" "+f.owner.Fleet)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	made := make(chan error, 1)
	go func() {
		defer leave()
		bounded, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), l.opt.Boot,
			backends.Errorf(backends.Transport, op, "the API server has not answered for %v", l.opt.Boot))
		defer cancel()
		made <- c.makeFleet(quiet(bounded, l.opt.Log), ctx, f)
	}()
	select {
	case err = <-made:
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: %w", op, context.Cause(ctx))
	}
	if err != nil {
		return nil, err
	}
	if err := c.awaitHolders(ctx, f); err != nil {
		return nil, err
	}
	out := make([]backends.Machine, len(f.spots))
	var all errgroup.Group
	for i, s := range f.spots {
		all.Go(func() error {
			var err error
			out[i], err = c.ready(ctx, s)
			return err
		})
	}
	return out, all.Wait()
}

// makeFleet asks for what is not there yet. It begins no more requests when stop has ended.
func (c *cluster) makeFleet(ctx, stop context.Context, f *fleet) error {
	owner := ownerMap(f.owner, f.until)
	if err := c.makeOwner(ctx, stop, f, owner); err != nil {
		return err
	}
	if err := c.chooseSets(ctx, f); err != nil {
		return err
	}
	svc := service(f.owner, f.until)
	svc.ObjectMeta = owned(svc.ObjectMeta, owner)
	if err := c.ensure(ctx, stop, f, services, svc); err != nil {
		return err
	}
	var all errgroup.Group
	for _, s := range f.spots {
		all.Go(func() error {
			p := holderPod(s, f.until)
			p.ObjectMeta = owned(p.ObjectMeta, owner)
			return c.ensure(ctx, stop, f, pods, p)
		})
	}
	return all.Wait()
}

// makeOwner makes the namespace and what all else belongs to. The caller holds the gate of its
// fleet, by which a release of another one knows to leave the namespace alone; that of the
// namespace is for those who make or remove it.
func (c *cluster) makeOwner(ctx, stop context.Context, f *fleet, owner *corev1.ConfigMap) error {
	leave, err := c.making.Enter(ctx, f.ns)
	if err != nil {
		return fmt.Errorf("namespace %s: %w", f.ns, err)
	}
	if time.Since(c.nsSeen) > seenLately {
		if err = c.ensureNamespace(ctx, stop, f); err == nil && f.unseen == nil {
			c.nsSeen = time.Now()
		}
	}
	leave()
	if err != nil {
		return err
	}
	return c.ensure(ctx, stop, f, configMaps, owner)
}

// seenLately is how long nobody asks again whether the namespace is there: the fleets of a run
// begin together.
const seenLately = 5 * time.Second

// thing is an object of the API.
type thing interface {
	metav1.Object
	runtime.Object
}

// words names a kind of object for ledger and messages.
func (r kind) words() string { return r.name[:len(r.name)-1] }

// ensure finds an object of a fleet, or makes it, and reads it back. One of an earlier call gets the
// deadline of this one where its kind can be changed; what is not dlx's is left alone.
func (c *cluster) ensure(ctx, stop context.Context, f *fleet, r kind, obj thing) error {
	name := obj.GetName()
	op := "create " + r.words() + " " + name
	want, _ := obj.DeepCopyObject().(thing)
	err := c.get(ctx, r, f.ns, name, obj)
	found := err == nil
	if notFound(err) {
		if stop.Err() != nil {
			return fmt.Errorf("%s: %w", op, context.Cause(stop))
		}
		note := backends.Object{Kind: r.words(), Name: name}
		if f.ledger != nil {
			if err := f.ledger.Intend(ctx, f.owner, note); err != nil {
				return err
			}
		}
		if err = c.createPatiently(ctx, stop, f, r, want, obj); exists(err) {
			err = c.get(ctx, r, f.ns, name, obj)
		}
		if err != nil && f.ledger != nil && c.refused(ctx, r, f.ns, name, err) {
			if lerr := f.ledger.Gone(ctx, f.owner, note); lerr != nil {
				return lerr
			}
		}
		if err == nil && f.ledger != nil {
			note.ID = string(obj.GetUID())
			if err := f.ledger.Made(ctx, f.owner, note); err != nil {
				return err
			}
		}
	}
	switch {
	case notFound(err) && f.unseen != nil:
		return backends.Errorf(backends.Config, op, "namespace %s is not there, and this login can make none: %w", f.ns, c.fail(ctx, "look for it", f.unseen))
	case err != nil:
		return c.fail(ctx, op, err)
	case !sameLabels(obj, want, labelManager, labelRun, labelFleet):
		return backends.Errorf(backends.Config, op, "there is one that is not dlx's")
	case obj.GetDeletionTimestamp() != nil:
		return backends.Errorf(backends.Infra, op, "the one of before is still being removed")
	case found && r.applied:
		return c.fail(ctx, op, c.apply(ctx, r, f.ns, want, obj))
	}
	return nil
}

func sameLabels(a, b thing, keys ...string) bool {
	return !slices.ContainsFunc(keys, func(k string) bool { return a.GetLabels()[k] != b.GetLabels()[k] })
}

// refused reports whether a request to make something was answered, and made nothing.
func (c *cluster) refused(ctx context.Context, r kind, ns, name string, err error) bool {
	var answer apierrors.APIStatus
	return errors.As(err, &answer) && notFound(c.at(c.of(r).Get(), r, ns).Name(name).Do(ctx).Error())
}

// createPatiently makes an object. A namespace that has just been made has no service account
// for a moment, and pods are refused: the account is made by a controller.
func (c *cluster) createPatiently(ctx, stop context.Context, f *fleet, r kind, obj, into thing) error {
	began, pause, ask := time.Now(), 20*time.Millisecond, c.create
	if r.applied {
		ask = c.apply
	}
	for {
		err := ask(ctx, r, f.ns, obj, into)
		if !forbidden(err) || !noAccountYet(err) || time.Since(began) > 30*time.Second || stop.Err() != nil {
			return err
		}
		if !sleep(ctx, pause) {
			return context.Cause(ctx)
		}
		pause = min(2*pause, time.Second)
	}
}
