package executor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
)

// runProcs follows the trial protocol: background roles are started and become steady; then the
// roles that never end by themselves are started, and then those that do; these are waited for,
// and all others stopped.
func (j *job) runProcs(ctx context.Context, groups []*group, procs []*proc) error {
	watching, dismiss := context.WithCancel(ctx)
	defer dismiss()
	var watched []*watch
	if hasBackground(procs) {
		err := j.span("background", func() error { return startGroups(ctx, groups, plan.Background) })
		if err != nil {
			return err
		}
		watched = watchAll(watching, procs)
		defer func() { // nobody writes to the exits any more
			dismiss()
			for _, w := range watched {
				<-w.ended
			}
		}()
		if err := j.span("steady", func() error { return j.steady(ctx, watched) }); err != nil {
			return err
		}
	}
	err := j.span("launch", func() error {
		if err := startGroups(ctx, groups, plan.Stopped); err != nil {
			return err
		}
		return startGroups(ctx, groups, plan.Exits)
	})
	if err != nil {
		return err
	}
	return j.span("run", func() error {
		err := await(ctx, procs)
		dismiss()
		for _, w := range watched {
			<-w.ended
		}
		return ignoreExit(ctx, procs, err)
	})
}

func startGroups(ctx context.Context, groups []*group, finish string) error {
	for _, g := range groups {
		if role := g.procs[0].role; role.Finish == finish {
			if err := g.l.Start(ctx, g.Group); err != nil {
				return fmt.Errorf("%s: %w", role.Name, err)
			}
		}
	}
	return nil
}

func hasBackground(procs []*proc) bool {
	return slices.ContainsFunc(procs, func(p *proc) bool { return p.role.Finish == plan.Background })
}

// A watch waits for the end of a background process, which is not to come.
type watch struct {
	p     *proc
	ended chan struct{} // closed when the waiting is over
	err   error         // why the waiting ended without an exit
}

func watchAll(ctx context.Context, procs []*proc) []*watch {
	var out []*watch
	for _, p := range procs {
		if p.role.Finish != plan.Background {
			continue
		}
		w := &watch{p: p, ended: make(chan struct{})}
		out = append(out, w)
		go func() {
			defer close(w.ended)
			var e backends.Exit
			if e, w.err = p.l.Wait(ctx, p.m, p.p.ID); w.err == nil {
				p.exit = e
			}
		}()
	}
	return out
}

// The pause between two looks at what a background process has printed: it doubles from the
// first to the last.
const (
	lookAgain = 25 * time.Millisecond
	lookLater = 400 * time.Millisecond
)

// maxHead bounds how much of a background process's output is read to see that it is steady.
const maxHead = 1 << 20

// steady returns when every background process has got into its stride.
func (j *job) steady(ctx context.Context, watched []*watch) error {
	if j.o.Steady == nil {
		return nil
	}
	var g errgroup.Group
	for _, w := range watched {
		g.Go(func() error {
			var head []byte
			for pause := lookAgain; ; pause = min(2*pause, lookLater) {
				more, err := read(ctx, w.p, int64(len(head)))
				if err != nil && !errors.Is(err, backends.ErrNotFound) { // it may have printed nothing yet
					return fmt.Errorf("%s: %w", w.p.name(), err)
				}
				head = append(head, more...)
				if j.o.Steady(j.p, head) {
					return nil
				}
				if len(head) > maxHead {
					return backends.Errorf(backends.Workload, w.p.name(), "it printed %d bytes and was not steady", len(head))
				}
				select {
				case <-w.ended:
					if w.err != nil {
						return fmt.Errorf("%s: %w", w.p.name(), w.err)
					}
					return backends.Errorf(backends.Workload, w.p.name(), "ended with code %d before it was steady: %s",
						w.p.exit.Code, tail(ctx, w.p.l, w.p.m, w.p.p.ID, backends.Stderr))
				case <-ctx.Done():
					return context.Cause(ctx)
				case <-time.After(pause):
				}
			}
		})
	}
	return g.Wait()
}

// read returns what a process has printed from an offset on.
func read(ctx context.Context, p *proc, offset int64) ([]byte, error) {
	r, err := p.l.Open(ctx, p.m, p.p.ID, backends.Stdout, offset)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, maxHead+1))
}

// overlap stores for each background process over how much of the time of the roles that exit it
// ran, and refuses a trial in which that is not all of it. A process that had to be stopped ran
// to the end: it was steady before the others started, and stopped after they had ended.
func overlap(procs []*proc, out []journal.Proc) error {
	var refused error
	for i, b := range procs {
		if b.role.Finish != plan.Background {
			continue
		}
		least := 1.0
		var of *proc
		for _, p := range procs {
			if c := covered(b.exit, p.exit); p.role.Finish == plan.Exits && c < least {
				least, of = c, p
			}
		}
		out[i].Covered = &least
		if of != nil && refused == nil {
			refused = backends.Errorf(backends.Invalid, b.name(), "background covered %.0f %% of the time of %s: it ended with code %d",
				math.Floor(100*least), of.name(), b.exit.Code)
		}
	}
	return refused
}

// covered is the share of p's time in which b ran.
func covered(b, p backends.Exit) float64 {
	if b.Stopped || p.Elapsed <= 0 {
		return 1
	}
	ran := b.Started.Add(b.Elapsed).Sub(p.Started)
	return min(1, max(0, float64(ran)/float64(p.Elapsed)))
}

func (p *proc) name() string { return p.role.Name + "-" + strconv.Itoa(p.index) }

// errOver ends the waiting for roles that never exit once the others have.
var errOver = errors.New("the roles that exit have exited")

// await waits for the roles that exit. The error is errExit if one did with a code other than 0.
func await(ctx context.Context, procs []*proc) error {
	over, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	waiting, giveUp := context.WithCancel(ctx)
	defer giveUp()
	g, gctx := errgroup.WithContext(waiting)
	servers, sctx := errgroup.WithContext(over)
	for _, p := range procs {
		if p.role.Finish == plan.Exits {
			g.Go(func() (err error) {
				if p.exit, err = p.l.Wait(gctx, p.m, p.p.ID); err != nil {
					return fmt.Errorf("%s: %w", p.name(), err)
				}
				if p.exit.Code != 0 {
					return errExit // the others need not go on
				}
				return nil
			})
			continue
		}
		if p.role.Finish == plan.Background {
			continue // what it covered is seen in the end
		}
		servers.Go(func() (err error) {
			p.exit, err = p.l.Wait(sctx, p.m, p.p.ID)
			if err == nil {
				return backends.Errorf(backends.Infra, p.name(), "ended with code %d before the roles it serves", p.exit.Code)
			}
			if errors.Is(context.Cause(sctx), errOver) {
				return nil
			}
			return err
		})
	}
	var serverErr, workerErr error
	serversOver, workersOver := make(chan struct{}), make(chan struct{})
	go func() { serverErr = servers.Wait(); close(serversOver) }()
	go func() { workerErr = g.Wait(); close(workersOver) }()
	hasServers := false
	for _, p := range procs {
		hasServers = hasServers || p.role.Finish == plan.Stopped
	}
	if !hasServers {
		<-workersOver
		return workerErr
	}
	select {
	case <-workersOver:
		stop(errOver)
		<-serversOver
		return workerErr
	case <-serversOver:
		// The exiting roles may have ended in the same moment; the early end still counts.
		giveUp()
		<-workersOver
		return serverErr
	}
}

// errExit says that a process ended with a code other than 0.
var errExit = errors.New("exit code other than 0")

// ignoreExit stops what still runs and turns errExit into none: the logs have to come home
// before the failure is reported. A background process that has ended by itself keeps its exit.
func ignoreExit(ctx context.Context, procs []*proc, err error) error {
	if err != nil && !errors.Is(err, errExit) {
		return err
	}
	for _, p := range procs {
		runs := p.exit.Started.IsZero() && (err != nil || p.role.Finish == plan.Background)
		if runs || p.role.Finish == plan.Stopped {
			if err := p.l.Stop(ctx, p.m, p.p.ID, stopGrace); err != nil {
				return fmt.Errorf("%s: %w", p.name(), err)
			}
			if p.exit, err = p.l.Wait(ctx, p.m, p.p.ID); err != nil {
				return fmt.Errorf("%s: %w", p.name(), err)
			}
		}
	}
	return nil
}
