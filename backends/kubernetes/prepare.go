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
	"dlx.dev/dlx/backends/internal/supervisor"
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

// makeOwner makes the namespace and what all else belongs to, as one step: from then on a release
// of another fleet leaves the namespace alone.
func (c *cluster) makeOwner(ctx, stop context.Context, f *fleet, owner *corev1.ConfigMap) error {
	leave, err := c.making.Enter(ctx, f.ns)
	if err != nil {
		return fmt.Errorf("namespace %s: %w", f.ns, err)
	}
	defer leave()
	if err := c.ensureNamespace(ctx, stop, f); err != nil {
		return err
	}
	return c.ensure(ctx, stop, f, configMaps, owner)
}

// thing is an object of the API.
type thing interface {
	metav1.Object
	runtime.Object
}

// words names a kind of object for ledger and messages.
func (r kind) words() string { return r.name[:len(r.name)-1] }

// ensure finds an object of a fleet, or makes it, and reads it back.
func (c *cluster) ensure(ctx, stop context.Context, f *fleet, r kind, obj thing) error {
	name := obj.GetName()
	op := "create " + r.words() + " " + name
	want := obj.GetLabels()
	err := c.get(ctx, r, f.ns, name, obj)
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
		if err = c.createPatiently(ctx, stop, f, r, obj); exists(err) {
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
	case obj.GetLabels()[labelManager] != manager || obj.GetLabels()[labelRun] != want[labelRun] || obj.GetLabels()[labelFleet] != want[labelFleet]:
		return backends.Errorf(backends.Config, op, "there is one that is not dlx's")
	case obj.GetDeletionTimestamp() != nil:
		return backends.Errorf(backends.Infra, op, "the one of before is still being removed")
	}
	return nil
}

// refused reports whether a request to make something was answered, and made nothing.
func (c *cluster) refused(ctx context.Context, r kind, ns, name string, err error) bool {
	var answer apierrors.APIStatus
	return errors.As(err, &answer) && notFound(c.at(c.of(r).Get(), r, ns).Name(name).Do(ctx).Error())
}

// createPatiently makes an object. A namespace that has just been made has no service account
// for a moment, and pods are refused: the account is made by a controller.
func (c *cluster) createPatiently(ctx, stop context.Context, f *fleet, r kind, obj thing) error {
	began, pause := time.Now(), 20*time.Millisecond
	for {
		err := c.create(ctx, r, f.ns, obj, obj)
		if !forbidden(err) || !noAccountYet(err) || time.Since(began) > 30*time.Second || stop.Err() != nil {
			return err
		}
		if !sleep(ctx, pause) {
			return context.Cause(ctx)
		}
		pause = min(2*pause, time.Second)
	}
}

// awaitHolders returns when all holders of a fleet run, or one cannot.
func (c *cluster) awaitHolders(ctx context.Context, f *fleet) error {
	began := time.Now()
	first := map[string]time.Time{} // when a trouble was first seen
	return c.await(ctx, "prepare "+f.owner.Fleet, func() (bool, time.Duration, error) {
		done, soon := true, time.Duration(0)
		for _, s := range f.spots {
			op := "machine " + s.machine.Name
			p, ok := c.pods.get(s.holder)
			switch {
			case !ok: // the watch is behind, or it was deleted
				if time.Since(began) > c.opt.Patience {
					return false, 0, backends.Errorf(backends.Infra, op, "pod %s was deleted", s.holder)
				}
				done = false
				continue
			case p.DeletionTimestamp != nil, ended(p):
				return false, 0, backends.Errorf(backends.Infra, op, "pod %s: %s", s.holder, endOfPod(p))
			case running(p):
				delete(first, s.holder)
				continue
			}
			done = false
			t := troubleOf(p, c.warningsOf(string(p.UID)))
			switch {
			case t == nil:
				t = &trouble{class: backends.Infra, words: "pod " + s.holder + " does not run: " + phaseOf(p), after: c.opt.Boot}
			case s.at.Hosts == backends.DifferentHosts && fewerNodes(t.words, len(f.spots)):
				t.after = mending // the nodes of a new cluster join one by one
			}
			key := s.holder + t.words[:min(20, len(t.words))]
			if first[key].IsZero() {
				first[key] = time.Now()
			}
			left := c.lasts(t) - time.Since(first[key])
			if left <= 0 {
				return false, 0, t.err(op)
			}
			if soon == 0 || left < soon {
				soon = left
			}
		}
		return done, soon, nil
	})
}

// running reports whether a holder can be used.
func running(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodRunning && p.Status.PodIP != "" && len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].State.Running != nil
}

func phaseOf(p *corev1.Pod) string {
	for _, s := range p.Status.ContainerStatuses {
		if w := s.State.Waiting; w != nil {
			return string(p.Status.Phase) + ", " + w.Reason
		}
	}
	return string(p.Status.Phase)
}

// ready puts the supervisor onto the scratch volume of a machine whose holder runs, and tells
// what was learnt of it. It shows that commands can be run in pods and that the volume takes files.
func (c *cluster) ready(ctx context.Context, s *spot) (backends.Machine, error) {
	p, ok := c.pods.get(s.holder)
	if !ok {
		return backends.Machine{}, backends.Errorf(backends.Infra, "machine "+s.machine.Name, "pod %s was deleted", s.holder)
	}
	a := *s.at
	a.Node = p.Spec.NodeName
	s.at = &a
	if err := c.putSupervisor(ctx, s); err != nil {
		return backends.Machine{}, err
	}
	m := s.machine
	m.ID, m.Address, m.Host, m.Access.Kubernetes = string(p.UID), p.Status.PodIP, p.Spec.NodeName, &a
	facts := map[string]string{"node": p.Spec.NodeName, "image": s.pod.Image, "imageID": p.Status.ContainerStatuses[0].ImageID}
	c.aboutNode(ctx, p.Spec.NodeName, facts)
	for k, v := range facts {
		if v == "" {
			delete(facts, k)
		}
	}
	for k, v := range m.Facts {
		if facts[k] == "" {
			facts[k] = v
		}
	}
	m.Facts = facts
	return m, nil
}

// begin is what puts the supervisor in place, before there is one: a script whose arguments are
// the home, the checksum and the size. It says what is wrong on standard error.
const begin = `at=$1/.dlx/files/$2
mkdir -p "$at" || exit 5
if [ ! -s "$at/supervisor.sh" ]; then
	new=$at/.new-$(uname -n)-$$
	head -c "$3" >"$new" && [ "$(wc -c <"$new")" -eq "$3" ] || exit 6
	have=$(sh "$new" sum "$new") || exit 5
	[ "$have" = "$2" ] || exit 6
	chmod 755 "$new" && mv -f "$new" "$at/supervisor.sh" || exit 5
fi`

func (c *cluster) putSupervisor(ctx context.Context, s *spot) error {
	op := "machine " + s.machine.Name
	key := s.holder + " supervisor"
	began := time.Now()
	for {
		status, errs, err := c.sendSupervisor(ctx, s)
		switch {
		case err == nil && status == 0:
			return nil
		case err == nil && status == supervisor.Cannot:
			return backends.Errorf(backends.Config, op, "scratch volume %s: %s", s.pod.Scratch.path(), clip(errs))
		case err == nil:
			err = fmt.Errorf("%s: the supervisor could not be put in place: status %d: %s", key, status, clip(errs))
		}
		failed := c.fail(ctx, op, err)
		if !backends.ClassOf(failed).Temporary() || ctx.Err() != nil || time.Since(began) > c.opt.Patience {
			return failed
		}
		if gone := c.holderGone(s); gone != nil {
			return &backends.Error{Class: backends.Infra, Op: op, Err: gone}
		}
		c.log("%v; trying again", failed)
		if !sleep(ctx, 500*time.Millisecond) {
			return fmt.Errorf("%s: %w", op, context.Cause(ctx))
		}
	}
}
