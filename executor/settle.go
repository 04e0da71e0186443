package executor

import (
	"container/heap"
	"context"
	"slices"
	"time"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
)

// take digests an outcome.
func (l *loop) take(ctx context.Context, o outcome) {
	l.running--
	s := &l.p.Steps[o.step]
	f := &l.fleets[s.Fleet]
	if s.Kind == plan.Trial {
		f.busy = false
		l.trials--
	}
	if o.fresh != nil {
		f.machines, f.staged = o.fresh.machines, o.fresh.staged
	}
	if o.err == nil {
		l.succeed(o)
		return
	}
	if ctx.Err() != nil {
		// Stopped now: the attempt stays open in the journal, so that the next run attaches to it.
		l.out[o.step].State, l.out[o.step].Class, l.out[o.step].Err = journal.Canceled, backends.Canceled, context.Cause(ctx)
		l.states[o.step] = ended
		return
	}
	class := backends.ClassOf(o.err)
	last := &o.events[len(o.events)-1]
	last.State, last.Class, last.Error = journal.Failed, class, o.err.Error()
	if class == backends.Canceled {
		last.State = journal.Canceled
	}
	l.events = append(l.events, o.events...)
	limit := l.p.Policy.Of(s.Kind)
	if retry := class.Temporary() || s.Kind == plan.Release && class != backends.Internal; retry && l.out[o.step].Attempts < limit.Attempts && (!l.draining || s.Kind == plan.Release) {
		l.states[o.step] = pausing
		heap.Push(&l.pauses, pause{time.Now().Add(limit.Wait(l.out[o.step].Attempts)), o.step})
		return
	}
	l.out[o.step].Err, l.out[o.step].Class, l.out[o.step].State = o.err, class, last.State
	l.end(o.step)
	if l.o.FailFast && s.Kind == plan.Trial {
		l.drain()
	}
}

func (l *loop) succeed(o outcome) {
	s := &l.p.Steps[o.step]
	f := &l.fleets[s.Fleet]
	switch s.Kind {
	case plan.Provision:
		f.machines = o.machines
	case plan.Stage:
		if f.staged == nil {
			f.staged = map[string][]string{}
		}
		f.staged[l.p.Fleets[s.Fleet].Stages[s.Stage].Name] = o.paths
	case plan.Release:
		l.share(int(s.Fleet), +1)
		f.holds = false
	case plan.Trial:
	}
	o.events[len(o.events)-1].State = journal.Done
	l.events = append(l.events, o.events...)
	l.out[o.step].State = journal.Done
	l.end(o.step)
}

// fail ends a step that never ran.
func (l *loop) fail(i int32, err error) {
	l.out[i].State, l.out[i].Class, l.out[i].Err = journal.Failed, backends.ClassOf(err), err
	l.events = append(l.events, journal.Event{
		Kind: journal.Ended, Step: l.p.StepID(int(i)), State: journal.Failed, Class: l.out[i].Class, Error: err.Error(),
	})
	l.end(i)
}

// end settles a step whose outcome is known, and what follows from it.
func (l *loop) end(i int32) {
	l.states[i] = ended
	s := &l.p.Steps[i]
	if s.Kind == plan.Release {
		return
	}
	for _, k := range l.next[l.first[i]:l.first[i+1]] {
		if l.states[k] != waiting {
			continue
		}
		if l.out[i].State != journal.Done {
			l.out[k].State = journal.Skipped
			if l.out[i].State == journal.Canceled {
				l.out[k].State = journal.Canceled
			}
			l.end(k)
			continue
		}
		if l.unmet[k]--; l.unmet[k] == 0 {
			l.ready(k)
		}
	}
	if f := &l.fleets[s.Fleet]; f.left > 0 {
		if f.left--; f.left == 0 {
			l.releaseOf(int(s.Fleet))
		}
	}
}

// releaseOf readies a fleet's release, or ends it at once when there is nothing to release.
func (l *loop) releaseOf(f int) {
	fs := &l.fleets[f]
	if !fs.wanted && len(l.led.owned(l.p.Fleets[f].Name)) == 0 {
		l.reuse(fs.release)
		return
	}
	if l.out[fs.first].Attempts == 0 && len(l.led.owned(l.p.Fleets[f].Name)) == 0 {
		l.reuse(fs.release) // it was never provisioned
		return
	}
	l.ready(fs.release)
}

func (l *loop) ready(i int32) {
	s := &l.p.Steps[i]
	if l.draining && s.Kind != plan.Release {
		l.cancel(i)
		return
	}
	l.states[i] = ready
	if s.Kind == plan.Trial {
		heap.Push(&l.fleets[s.Fleet].ready, i)
		return
	}
	heap.Push(&l.queue, i)
}

// drain cancels everything that has not begun, but for releases.
func (l *loop) drain() {
	if l.draining {
		return
	}
	l.draining = true
	l.queue = slices.DeleteFunc(l.queue, func(i int32) bool { return l.p.Steps[i].Kind != plan.Release })
	heap.Init(&l.queue)
	for f := range l.fleets {
		l.fleets[f].ready = nil
	}
	for i := range l.p.Steps {
		if st := l.states[i]; l.p.Steps[i].Kind != plan.Release && (st == waiting || st == ready || st == pausing) {
			l.cancel(int32(i))
		}
	}
}

func (l *loop) cancel(i int32) {
	if l.states[i] == ended {
		return
	}
	l.out[i].State, l.out[i].Class = journal.Canceled, backends.Canceled
	l.end(i)
}
