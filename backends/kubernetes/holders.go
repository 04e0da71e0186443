package kubernetes

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/internal/supervisor"
)

// awaitHolders returns when all holders of a fleet run, or one cannot.
func (c *cluster) awaitHolders(ctx context.Context, f *fleet) error {
	began := time.Now()
	seen := troubles{c: c, first: map[string]time.Time{}}
	return c.await(ctx, "prepare "+f.owner.Fleet, func() (bool, time.Duration, error) {
		done := true
		seen.soon = 0
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
			if err := seen.bear(s.holder, op, t); err != nil {
				return false, 0, err
			}
		}
		return done, seen.soon, nil
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
	if err := c.putSupervisor(ctx, s); err != nil {
		return backends.Machine{}, err
	}
	facts := map[string]string{"jobSet": p.Annotations[keyJobSet], "node": p.Spec.NodeName, "image": s.pod.Image, "imageID": p.Status.ContainerStatuses[0].ImageID}
	c.aboutNode(ctx, p.Spec.NodeName, facts)
	maps.DeleteFunc(facts, func(_, v string) bool { return v == "" })
	c.mu.Lock()
	c.readied[string(p.UID)] = facts
	c.mu.Unlock()
	return s.found(p, maps.Clone(facts)), nil
}

// found gives the machine whose holder runs, with what is known of it.
func (s *spot) found(p *corev1.Pod, facts map[string]string) backends.Machine {
	m, a := s.machine, *s.at
	a.Node, a.JobSet = p.Spec.NodeName, p.Annotations[keyJobSet] != ""
	m.ID, m.Address, m.Host, m.Access.Kubernetes = string(p.UID), p.Status.PodIP, p.Spec.NodeName, &a
	for k, v := range m.Facts {
		if facts[k] == "" {
			facts[k] = v
		}
	}
	m.Facts = facts
	return m
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

// prepared gives the machines of a fleet if this launcher has prepared them all, and their holders
// run still; nil: it has not, or they do not.
func (l *Launcher) prepared(ctx context.Context, f *fleet) []backends.Machine {
	c, err := l.cluster(ctx, f.spots[0].at.Config, f.ns)
	if err != nil {
		return nil // prepare says why
	}
	var out []backends.Machine
	for _, s := range f.spots {
		p, ok := c.pods.get(s.holder)
		if !ok || p.DeletionTimestamp != nil || !running(p) {
			return nil
		}
		c.mu.Lock()
		facts, ok := c.readied[string(p.UID)]
		c.mu.Unlock()
		if !ok || s.at.Owner != f.owner || s.at.Namespace != f.ns || string(s.at.Config) != string(f.spots[0].at.Config) {
			return nil
		}
		out = append(out, s.found(p, maps.Clone(facts)))
	}
	return out
}
