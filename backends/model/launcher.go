package model

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"dlx.dev/dlx/backends"
)

// launcher "runs" processes.
type launcher struct{ c *cloud }

type process struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	exit    backends.Exit
	stdout  string // what is printed so far
	stderr  string
	stopped bool
}

// Prepare implements backends.Launcher.
func (l launcher) Prepare(_ context.Context, ms []backends.Machine) ([]backends.Machine, error) {
	return ms, nil
}

// Address implements backends.Launcher.
func (l launcher) Address(m backends.Machine, _ string, _ int) string { return m.Address }

func (l launcher) machine(m backends.Machine) (*machine, error) {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	if x := l.c.machines[m.ID]; x != nil {
		return x, nil
	}
	return nil, backends.Errorf(backends.Infra, "machine "+m.Name, "it is gone: a rehearsal's machines go with dlx")
}

// Stage implements backends.Launcher: nothing is copied.
func (l launcher) Stage(_ context.Context, m backends.Machine, f backends.File) (string, error) {
	_, err := l.machine(m)
	return "/files/" + f.Name, err
}

// Start implements backends.Launcher.
func (l launcher) Start(_ context.Context, g backends.Group) error {
	if err := g.Check(); err != nil {
		return err
	}
	failed := false
	if !strings.HasPrefix(g.ID, "helper/") {
		if err := l.c.fault(stepOf(backends.ProcessID(g.ID, 0))); backends.ClassOf(err) == backends.Workload {
			failed = true
		} else if err != nil {
			return err
		}
	}
	for i, m := range g.Machines {
		x, err := l.machine(m)
		if err != nil {
			return err
		}
		l.start(x, g.Process(i), len(g.Machines), failed) //nolint:contextcheck // the process outlives the call
	}
	return nil
}

// start begins a process unless it is known.
func (l launcher) start(x *machine, p backends.Process, workers int, failed bool) {
	l.c.mu.Lock()
	if x.procs[p.ID] != nil {
		l.c.mu.Unlock()
		return
	}
	ctx, cancel := context.WithCancel(context.Background()) //nolint:forbidigo // the process outlives the call
	pr := &process{cancel: cancel, done: make(chan struct{})}
	x.procs[p.ID] = pr
	does := l.c.predict(x, p, workers)
	if does.forever {
		x.load[p.ID] = does.net
	}
	l.c.mu.Unlock()
	if failed {
		does = performance{stderr: "simulated failure\n", code: 1, takes: does.takes / 2}
	}
	pr.stderr = does.stderr
	if does.forever { // what it prints is looked at while it runs
		pr.stdout = does.stdout
	}
	go l.run(ctx, x, p, pr, does)
}

// run lets a process print and end.
func (l launcher) run(ctx context.Context, x *machine, p backends.Process, pr *process, does performance) {
	defer close(pr.done)
	defer pr.cancel()
	began := time.Now()
	exit := backends.Exit{Code: does.code, Started: began, Elapsed: does.takes}
	switch {
	case does.forever:
		<-ctx.Done()
		exit.Code, exit.Elapsed = 143, time.Duration(float64(time.Since(began))*l.c.cfg.Speed)
	case p.Timeout > 0 && does.takes > p.Timeout:
		l.c.wait(ctx, p.Timeout)
		exit.Code, exit.TimedOut, exit.Elapsed = 143, true, p.Timeout
	case !l.c.wait(ctx, does.takes):
		exit.Code, exit.Elapsed = 143, time.Duration(float64(time.Since(began))*l.c.cfg.Speed)
	}
	l.c.mu.Lock()
	delete(x.load, p.ID)
	l.c.mu.Unlock()
	pr.mu.Lock()
	exit.Stopped = pr.stopped
	pr.exit, pr.stdout = exit, does.stdout
	pr.mu.Unlock()
}

func (l launcher) process(m backends.Machine, id string) (*process, error) {
	x, err := l.machine(m)
	if err != nil {
		return nil, err
	}
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	if p := x.procs[id]; p != nil {
		return p, nil
	}
	return nil, backends.Errorf(backends.Infra, "process "+id, "%w", backends.ErrNotFound)
}

// Wait implements backends.Launcher.
func (l launcher) Wait(ctx context.Context, m backends.Machine, id string) (backends.Exit, error) {
	p, err := l.process(m, id)
	if err != nil {
		return backends.Exit{}, err
	}
	select {
	case <-p.done:
		return p.exit, nil
	case <-ctx.Done():
		return backends.Exit{}, context.Cause(ctx)
	}
}

// Stop implements backends.Launcher.
func (l launcher) Stop(_ context.Context, m backends.Machine, id string, _ time.Duration) error {
	p, err := l.process(m, id)
	if err != nil {
		return nil //nolint:nilerr // what is unknown, or gone with its machine, runs no more
	}
	p.mu.Lock()
	select {
	case <-p.done:
	default:
		p.stopped = true
	}
	p.mu.Unlock()
	p.cancel()
	<-p.done
	return nil
}

// Open implements backends.Launcher.
func (l launcher) Open(_ context.Context, m backends.Machine, id, name string, offset int64) (io.ReadCloser, error) {
	p, err := l.process(m, id)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	text := ""
	switch name {
	case backends.Stdout:
		text = p.stdout
	case backends.Stderr:
		text = p.stderr
	case backends.Probe:
		text = fmt.Sprintf("backend=model\nhost=%s\nsimulated=true\n", m.Host)
	case traceName:
		text = "{\"simulated\":true,\"traceEvents\":[]}\n"
	default:
		err = backends.Errorf(backends.Infra, "file "+name, "%w", backends.ErrNotFound)
	}
	p.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return io.NopCloser(strings.NewReader(text[min(int(offset), len(text)):])), nil
}

// traceName is what programs call the trace they leave when they are asked for one.
const traceName = "trace.json"

// Close implements backends.Launcher.
func (l launcher) Close() error { return nil }
