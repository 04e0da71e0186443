// Package executor runs a plan: it provisions fleets within the capacity, runs trials on them,
// retries what may pass, records everything in the journal, and releases what it made, whatever
// happens in between.
//
// One goroutine owns all scheduling state ([Execute]'s loop); each running step has a goroutine
// of its own that only sends its outcome. The executor knows the contract of package backends
// and no cloud, and no format of output: the parser is handed in.
//
// # How a run goes on after a crash
//
// Every call that makes something can be repeated: Provision returns machines that exist, Stage
// skips files that are there, and Start does nothing for a process that was started. So a run is
// taken up by doing the same again with the same names: a trial whose process still runs, or has
// ended meanwhile, is thereby attached to, and a trial whose numbers are in the journal is done.
package executor

import (
	"context"
	"fmt"
	"time"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
)

// Options are what a run needs beside its plan.
type Options struct {
	Run      string                       // ID of the run: letters, digits and '-', at most 32; the same when it goes on
	Dir      string                       // the run folder; logs are brought to Dir/logs
	Version  string                       // of dlx, for the journal
	Backends map[string]*backends.Backend // by the plan's names of clouds
	Journal  *journal.Writer
	History  *journal.History // what the journal held; the executor goes on folding into it
	Parse    ParseFunc
	Steady   SteadyFunc                               // nil: a background role is steady once it is started
	Files    func(name string) (backends.File, error) // files that stagings name; "self" is dlx itself

	Jobs     int           // most trials at once; 0: as many as there are fleets
	FailFast bool          // after the first failed trial start no more
	Lease    time.Duration // objects are tagged as anybody's to remove this long after their making; 0: DefaultLease

	// Drain, when closed, means: finish cleanly. Trials that run go on to their end, no new step
	// starts but releases, provisions and stages are cut short, and everything is released.
	// Canceling the context of Execute means: stop now. Nothing is released then; the machines
	// and the processes on them stay, and so does what the ledger knows of them.
	Drain <-chan struct{}

	// Progress is told of every event of the loop after it has become durable, in order, from the
	// one goroutine of the loop. It must not block.
	Progress func(journal.Event)
}

// DefaultLease is longer than any batch window we know of.
const DefaultLease = 7 * 24 * time.Hour

// stopGrace is what a process gets between SIGTERM and SIGKILL.
const stopGrace = 10 * time.Second

// A Trial is a finished attempt, ready to be read: Procs name the files it left in the run folder.
type Trial struct {
	Plan   *plan.Plan
	Cell   *plan.Cell
	Repeat int
	Procs  []journal.Proc
	Dir    string // the run folder
}

// A Reading is what a parser found.
type Reading struct {
	Observations []journal.Observation
	Warnings     []string
	Invalid      string // why the numbers must not count; empty if they do
}

// A ParseFunc reads the output of a trial. An error means that the output does not hold what it
// should. It is called from many goroutines.
type ParseFunc func(t Trial) (Reading, error)

// A SteadyFunc reports whether a process of the plan's workload has got into its stride, by what
// it has printed so far. It is called from many goroutines.
type SteadyFunc func(p *plan.Plan, output []byte) bool

// A StepOutcome is what became of a step.
type StepOutcome struct {
	State    journal.State
	Reused   bool // done before this process: its result was in the journal, or nothing had to be done
	Attempts int  // in this process
	Class    backends.Class
	Err      error
}

// An Outcome is what became of a run.
type Outcome struct {
	Steps    []StepOutcome // by the plan's index
	Trials   int
	Done     int // trials that count, reused ones among them
	Reused   int
	Failed   int // trials that were tried and do not count
	Skipped  int // trials that were not tried: something failed before them
	Canceled int
	Left     []journal.Owned // what the ledger does not know to be gone
}

// Execute runs p to its end. It returns an error only if the run could not be carried on: the
// journal could not be written, an option is missing, or ctx ended, in which case the error is
// ctx's cause. Failed trials are no error: see the Outcome, which is valid also with an error.
func Execute(ctx context.Context, p *plan.Plan, o Options) (*Outcome, error) {
	for _, c := range p.Clouds {
		if o.Backends[c.Name] == nil {
			return nil, fmt.Errorf("executor: cloud %q: no backend was opened for it", c.Name)
		}
	}
	digest, err := p.Digest()
	if err != nil {
		return nil, fmt.Errorf("executor: %w", err)
	}
	if o.Lease == 0 {
		o.Lease = DefaultLease
	}
	if o.Progress == nil {
		o.Progress = func(journal.Event) {}
	}
	led := &ledger{w: o.Journal, h: o.History}
	if err := led.append(journal.Event{
		Kind: journal.Opened, Format: journal.Format, Run: o.Run, Plan: digest, Version: o.Version,
	}); err != nil {
		return nil, err
	}
	l := newLoop(p, o, led)
	err = l.run(ctx)
	if err == nil {
		err = l.sweep(ctx)
	}
	out := l.outcome()
	if err != nil {
		return out, err
	}
	return out, led.append(journal.Event{Kind: journal.Closed, State: out.state()})
}

func (o *Outcome) state() journal.State {
	switch {
	case o.Canceled > 0:
		return journal.Canceled
	case o.Failed+o.Skipped > 0:
		return journal.Failed
	default:
		return journal.Done
	}
}
