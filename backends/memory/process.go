package memory

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"dlx.dev/dlx/backends"
)

type process struct {
	done   chan struct{} // closed when it has ended
	exit   backends.Exit
	cancel context.CancelFunc // SIGTERM
	kill   context.CancelFunc // SIGKILL
	killed context.Context

	mu      sync.Mutex
	files   map[string]*bytes.Buffer
	stopped bool
}

type processKey struct{}

// Create makes an empty file in the folder of the process whose Run got ctx.
func Create(ctx context.Context, name string) io.Writer {
	p := of(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.files[name] = &bytes.Buffer{}
	return file{p, name}
}

// Killed is closed when the process whose Run got ctx is killed: a program that goes on though ctx
// has ended has to return then, and its exit code is 137.
func Killed(ctx context.Context) <-chan struct{} { return of(ctx).killed.Done() }

func of(ctx context.Context) *process {
	p, ok := ctx.Value(processKey{}).(*process)
	if !ok {
		panic("memory: not the context of a Run")
	}
	return p
}

type file struct {
	p    *process
	name string
}

func (f file) Write(b []byte) (int, error) {
	f.p.mu.Lock()
	defer f.p.mu.Unlock()
	return f.p.files[f.name].Write(b)
}

// never is longer than any test's virtual time.
const never = 100 * 365 * 24 * time.Hour

// lateGrace is how long a process whose time is over may go on, as under the supervisor of real
// machines.
const lateGrace = 10 * time.Second

// begin starts a process on x.
func (l launcher) begin(x *machine, p backends.Process) *process {
	pr := &process{done: make(chan struct{}), files: map[string]*bytes.Buffer{
		backends.Stdout: {}, backends.Stderr: {}, backends.Probe: bytes.NewBufferString("backend=memory\nhost=" + x.m.Host + "\n"),
	}}
	timeout := p.Timeout
	if timeout <= 0 {
		timeout = never
	}
	pr.killed, pr.kill = context.WithCancel(x.done)
	ctx, cancel := context.WithTimeout(context.WithValue(pr.killed, processKey{}, pr), timeout)
	pr.cancel = cancel
	go func() {
		defer pr.kill()
		defer cancel()
		start, code := time.Now(), 0
		if l.c.cfg.Run != nil {
			code = l.c.cfg.Run(ctx, x.m, p, file{pr, backends.Stdout}, file{pr, backends.Stderr})
		}
		late := errors.Is(context.Cause(ctx), context.DeadlineExceeded)
		switch {
		case pr.killed.Err() != nil && x.done.Err() == nil:
			code = 128 + 9 // SIGKILL
		case ctx.Err() != nil && code == 0:
			code = 128 + 15 // SIGTERM
		}
		pr.mu.Lock()
		pr.exit = backends.Exit{Code: code, Started: start, Elapsed: time.Since(start), Stopped: pr.stopped, TimedOut: late}
		pr.mu.Unlock()
		close(pr.done)
	}()
	go func() {
		<-ctx.Done()
		if errors.Is(context.Cause(ctx), context.DeadlineExceeded) && sleep(pr.killed, lateGrace) { //nolint:contextcheck // ctx has ended
			pr.kill()
		}
	}()
	return pr
}

// stop asks the process to end, kills it after the grace, and waits until it has ended.
func (p *process) stop(ctx context.Context, grace time.Duration) error {
	p.mu.Lock()
	select {
	case <-p.done:
	default:
		p.stopped = true
	}
	p.mu.Unlock()
	p.cancel()
	t := time.NewTimer(grace)
	defer t.Stop()
	for {
		select {
		case <-p.done:
			return nil
		case <-t.C:
			p.kill()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
