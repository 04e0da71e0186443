package executor

import (
	"container/heap"
	"context"
	"errors"
	"slices"
	"time"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
)

// stepState is where a step stands in the loop.
type stepState uint8

const (
	waiting stepState = iota // for others
	ready                    // in a queue
	running
	pausing // before another attempt
	ended
)

// loop is the scheduling state. Only the goroutine of run touches it.
type loop struct {
	p   *plan.Plan
	o   Options
	led *ledger

	states  []stepState
	out     []StepOutcome
	unmet   []int32 // how many steps in After have not succeeded yet
	next    []int32 // successors of step i: next[first[i]:first[i+1]]
	first   []int32
	attempt []int // number of the current or last attempt, counted over all processes of the run

	queue  stepHeap // ready steps other than trials
	fleets []fleetState
	free   map[string]int // of the capacity; a resource without limit is not in it
	trials int            // running

	running  int
	outcomes chan outcome
	pauses   pauseHeap
	draining bool
	events   []journal.Event // of this turn, not yet durable
	starts   []start         // of this turn, begun once the events are durable
}

// fleetState is what the loop knows of a fleet.
type fleetState struct {
	ready    stepHeap // trials
	busy     bool     // a trial runs: fleets are exclusive
	left     int      // steps that have not ended, but for the release
	release  int32
	first    int32 // the provision
	holds    bool  // its capacity is taken
	wanted   bool  // some trial of it has to run
	machines []backends.Machine
	staged   map[string][]string // by staging: path on each machine
}

type start struct {
	step    int32
	attempt int
}

// outcome is what a worker sends.
type outcome struct {
	step     int32
	attempt  int
	err      error
	events   []journal.Event // Observed, if any; then Ended without its State
	machines []backends.Machine
	paths    []string
	fresh    *fresh // machines and files were looked up again
}

// fresh replaces what the loop knows of a fleet.
type fresh struct {
	machines []backends.Machine
	staged   map[string][]string
}

func newLoop(p *plan.Plan, o Options, led *ledger) *loop {
	n := len(p.Steps)
	l := &loop{
		p: p, o: o, led: led,
		states: make([]stepState, n), out: make([]StepOutcome, n), unmet: make([]int32, n), first: make([]int32, n+1), attempt: make([]int, n),
		fleets: make([]fleetState, len(p.Fleets)), free: map[string]int{}, outcomes: make(chan outcome),
	}
	for _, a := range p.Capacity {
		l.free[a.Resource] = a.Units
	}
	for i := range p.Steps {
		for _, a := range p.Steps[i].After {
			l.first[a+1]++
		}
		l.unmet[i] = int32(len(p.Steps[i].After))
	}
	for i := range n {
		l.first[i+1] += l.first[i]
	}
	l.next = make([]int32, l.first[n])
	fill := slices.Clone(l.first[:n])
	for i := range p.Steps {
		for _, a := range p.Steps[i].After {
			l.next[fill[a]] = int32(i)
			fill[a]++
		}
	}
	for i := range p.Steps {
		f := &l.fleets[p.Steps[i].Fleet]
		switch p.Steps[i].Kind {
		case plan.Release:
			f.release = int32(i)
			continue
		case plan.Provision:
			f.first = int32(i)
		case plan.Stage, plan.Trial:
		}
		f.left++
	}
	l.resume()
	return l
}

// resume takes over what the journal knows: trials that count are done, and attempts that have
// begun without an end are taken up under their number.
func (l *loop) resume() {
	h := l.o.History
	for i := range l.p.Steps {
		s := &l.p.Steps[i]
		if r := h.Steps[l.p.StepID(i)]; r != nil {
			l.attempt[i] = r.Attempts
			if r.Open {
				l.attempt[i]--
			}
		}
		if s.Kind != plan.Trial {
			continue
		}
		if _, ok := h.Observed[journal.TrialKey{Key: l.p.Cells[s.Cell].Key, Repeat: int(s.Repeat)}]; !ok {
			l.fleets[s.Fleet].wanted = true
		}
	}
	for i := range l.p.Steps { // trials first, so that nothing is readied by what is done already
		if s := &l.p.Steps[i]; s.Kind == plan.Trial {
			if _, ok := h.Observed[journal.TrialKey{Key: l.p.Cells[s.Cell].Key, Repeat: int(s.Repeat)}]; ok {
				l.reuse(int32(i))
			}
		}
	}
	for i := range l.p.Steps {
		switch s := &l.p.Steps[i]; {
		case l.states[i] != waiting || s.Kind == plan.Trial || s.Kind == plan.Release:
		case !l.fleets[s.Fleet].wanted:
			l.reuse(int32(i))
		case s.Kind == plan.Provision:
			l.ready(int32(i))
		}
	}
}

// reuse ends a step that needs nothing done.
func (l *loop) reuse(i int32) {
	l.out[i] = StepOutcome{State: journal.Done, Reused: true}
	l.end(i)
}

// run is the loop: start what can start, make it durable, wait for what comes, until nothing
// runs and nothing can.
func (l *loop) run(ctx context.Context) error {
	ctx, stopNow := context.WithCancelCause(ctx) // also when the journal cannot be written
	defer stopNow(nil)
	soft, cutShort := context.WithCancelCause(ctx) // for steps that draining cuts short
	defer cutShort(nil)
	drain := l.o.Drain
	timer := time.NewTimer(0)
	defer timer.Stop()
	var fatal error
	for {
		if fatal == nil && ctx.Err() == nil {
			l.dispatch()
			if fatal = l.commit(); fatal == nil {
				for _, s := range l.starts {
					go l.perform(ctx, soft, s, l.job(s.step))
				}
				l.running += len(l.starts)
			} else {
				stopNow(fatal) // what runs cannot be recorded any more: it stays, for the next run to attach to
			}
			l.starts = l.starts[:0]
		}
		if l.running == 0 {
			switch {
			case fatal != nil:
				return fatal
			case ctx.Err() != nil:
				if err := l.commit(); err != nil { // what came home before the stop
					return err
				}
				return context.Cause(ctx)
			case len(l.pauses) == 0:
				if l.stuck() {
					continue
				}
				return l.commit()
			}
		}
		if len(l.pauses) > 0 {
			timer.Reset(time.Until(l.pauses[0].until))
		}
		select {
		case o := <-l.outcomes:
			l.take(ctx, o)
			for more := true; more; { // all that has come, so that one commit covers it
				select {
				case o := <-l.outcomes:
					l.take(ctx, o)
				default:
					more = false
				}
			}
		case <-timer.C:
			for len(l.pauses) > 0 && !l.pauses[0].until.After(time.Now()) {
				if p := heap.Pop(&l.pauses).(pause); l.states[p.step] == pausing {
					l.ready(p.step)
				}
			}
		case <-drain:
			drain = nil
			l.drain()
			cutShort(errDrained)
		case <-ctx.Done():
			if l.running > 0 {
				l.take(ctx, <-l.outcomes)
			}
		}
	}
}

// errDrained is the cause by which steps are cut short when a run drains.
var errDrained = &backends.Error{Class: backends.Canceled, Op: "run", Err: errors.New("interrupted")}

// commit makes the events of the turn durable and tells the world.
func (l *loop) commit() error {
	if len(l.events) == 0 {
		return nil
	}
	if err := l.led.append(l.events...); err != nil {
		return err
	}
	for _, ev := range l.events {
		l.o.Progress(ev)
	}
	l.events = l.events[:0]
	return nil
}

// dispatch starts all that may start now, in the order of the plan.
func (l *loop) dispatch() {
	var blocked []int32
	for l.queue.Len() > 0 {
		i := heap.Pop(&l.queue).(int32)
		if s := &l.p.Steps[i]; s.Kind == plan.Provision && !l.acquire(int(s.Fleet)) {
			blocked = append(blocked, i)
			continue
		}
		l.start(i)
	}
	for _, i := range blocked {
		heap.Push(&l.queue, i)
	}
	var heads []int32
	for f := range l.fleets {
		if fs := &l.fleets[f]; !fs.busy && fs.ready.Len() > 0 {
			heads = append(heads, fs.ready[0])
		}
	}
	slices.Sort(heads)
	for _, i := range heads {
		if l.o.Jobs > 0 && l.trials >= l.o.Jobs {
			return
		}
		fs := &l.fleets[l.p.Steps[i].Fleet]
		heap.Pop(&fs.ready)
		fs.busy = true
		l.trials++
		l.start(i)
	}
}

func (l *loop) start(i int32) {
	l.attempt[i]++
	l.states[i] = running
	l.out[i].Attempts++
	l.events = append(l.events, journal.Event{Kind: journal.Started, Step: l.p.StepID(int(i)), Attempt: l.attempt[i]})
	l.starts = append(l.starts, start{i, l.attempt[i]})
}

// acquire takes a fleet's share of the capacity, if it is there.
func (l *loop) acquire(f int) bool {
	if l.fleets[f].holds {
		return true
	}
	for _, u := range l.p.Fleets[f].Uses {
		if free, limited := l.free[u.Resource]; limited && free < u.Units {
			return false
		}
	}
	l.share(f, -1)
	l.fleets[f].holds = true
	return true
}

func (l *loop) share(f, sign int) {
	for _, u := range l.p.Fleets[f].Uses {
		if _, limited := l.free[u.Resource]; limited {
			l.free[u.Resource] += sign * u.Units
		}
	}
}

// stuck fails the provisions that wait for a capacity which nothing will give back.
func (l *loop) stuck() bool {
	if l.queue.Len() == 0 {
		return false
	}
	i := l.queue[0]
	heap.Pop(&l.queue)
	l.fail(i, backends.Errorf(backends.Capacity, l.p.StepID(int(i)), "the capacity it needs is held by a fleet that could not be released"))
	return true
}

// sweep asks every cloud to remove what the ledger still knows: what belongs to no fleet of the
// plan of today, and what a release left.
func (l *loop) sweep(ctx context.Context) error {
	if len(l.led.owned("")) == 0 {
		return nil
	}
	for i := range l.p.Clouds {
		c := &l.p.Clouds[i]
		ctx, cancel := context.WithTimeout(ctx, time.Duration(l.p.Policy.Release.Timeout))
		err := release(ctx, l.o.Backends[c.Name], backends.Owner{Run: l.o.Run}, l.led.of(c))
		cancel()
		if err != nil {
			if err := l.led.append(journal.Event{Kind: journal.Note, Text: "release of what is left in cloud " + c.Name + ": " + err.Error()}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *loop) outcome() *Outcome {
	out := &Outcome{Steps: l.out, Left: l.led.owned("")}
	for i := range l.p.Steps {
		if l.p.Steps[i].Kind != plan.Trial {
			continue
		}
		out.Trials++
		switch s := &l.out[i]; s.State {
		case journal.Done:
			out.Done++
			if s.Reused {
				out.Reused++
			}
		case journal.Failed:
			out.Failed++
		case journal.Skipped:
			out.Skipped++
		default:
			s.State = journal.Canceled
			out.Canceled++
		}
	}
	return out
}
