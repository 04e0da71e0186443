package ssh

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/internal/supervisor"
)

// supervise runs a verb of the supervisor on the machine. An answer other than 0 comes back as
// a status; the statuses of a supervisor that is not there or came torn are errors without a
// class, so that do sends it again.
func (m *machine) supervise(ctx context.Context, c *conn, stdin []byte, words ...string) (int, string, string, error) {
	script, err := m.supervisor(ctx, c)
	if err != nil {
		return 0, "", "", err
	}
	status, out, errs, err := c.exec(ctx, "sh "+script+" "+strings.Join(words, " "), stdin)
	switch {
	case err != nil:
		return 0, "", "", err
	case status == 0, status == supervisor.Vanished, status == supervisor.Unknown, status == supervisor.Cannot:
		return status, out, errs, nil
	}
	m.mu.Lock()
	m.script = ""
	m.mu.Unlock()
	return 0, "", "", &stale{fmt.Errorf("supervisor ended with %d: %s", status, errs)}
}

// Prepare has nothing to do: a machine that can be logged into is ready.
func (l *Launcher) Prepare(_ context.Context, ms []backends.Machine) ([]backends.Machine, error) {
	return ms, nil
}

// Address is the machine's own.
func (l *Launcher) Address(m backends.Machine, _ string, _ int) string { return m.Address }

// Start starts the processes of a group. It returns when each program runs, or has run already.
func (l *Launcher) Start(ctx context.Context, g backends.Group) error {
	if err := g.Check(); err != nil {
		return err
	}
	var all errgroup.Group
	for i, m := range g.Machines {
		all.Go(func() error { return l.start(ctx, m, g.Process(i)) })
	}
	return all.Wait()
}

func (l *Launcher) start(ctx context.Context, m backends.Machine, p backends.Process) error {
	op := fmt.Sprintf("start %s on %s", p.ID, m.Name)
	folder, err := supervisor.Folder(p.ID)
	if err != nil {
		return &backends.Error{Class: backends.Config, Op: op, Err: err}
	}
	body := []byte(supervisor.Script(p))
	words := []string{"start", folder, strconv.Itoa(len(body)), supervisor.Seconds(p.Timeout),
		strconv.Itoa(p.CPUs), strconv.Itoa(p.GPUs), strconv.Itoa(p.MemoryMiB),
		strconv.Itoa(p.FirstCPU), strconv.Itoa(p.FirstGPU)}
	return l.do(ctx, m, op, func(mm *machine, c *conn) error {
		status, _, errs, err := mm.supervise(ctx, c, body, words...)
		switch {
		case err != nil:
			return err
		case status == supervisor.Cannot:
			return backends.Errorf(backends.Config, "supervisor", "%s", errs)
		case status != 0:
			return backends.Errorf(backends.Infra, "supervisor", "it vanished before the program started")
		}
		return nil
	})
}

// Wait blocks on the machine until the process has ended.
func (l *Launcher) Wait(ctx context.Context, m backends.Machine, id string) (backends.Exit, error) {
	op := fmt.Sprintf("wait for %s on %s", id, m.Name)
	folder, err := supervisor.Folder(id)
	if err != nil {
		return backends.Exit{}, &backends.Error{Class: backends.Config, Op: op, Err: err}
	}
	var exit backends.Exit
	err = l.do(ctx, m, op, func(mm *machine, c *conn) error {
		status, out, errs, err := mm.supervise(ctx, c, nil, "wait", folder)
		switch {
		case err != nil:
			return err
		case status == supervisor.Unknown:
			return backends.Errorf(backends.Infra, "process", "%w", backends.ErrNotFound)
		case status != 0:
			return backends.Errorf(backends.Infra, "process", "it vanished without a trace %s", errs)
		}
		r, err := supervisor.ParseRecord(out)
		if err != nil {
			return backends.Errorf(backends.Infra, "exit record", "%w", err)
		}
		exit = r.Exit
		return nil
	})
	return exit, err
}

// Stop ends a process and all it started.
func (l *Launcher) Stop(ctx context.Context, m backends.Machine, id string, grace time.Duration) error {
	op := fmt.Sprintf("stop %s on %s", id, m.Name)
	folder, err := supervisor.Folder(id)
	if err != nil {
		return &backends.Error{Class: backends.Config, Op: op, Err: err}
	}
	return l.do(ctx, m, op, func(mm *machine, c *conn) error {
		status, _, errs, err := mm.supervise(ctx, c, nil, "stop", folder, supervisor.Seconds(grace))
		if err == nil && status != 0 {
			err = backends.Errorf(backends.Infra, "supervisor", "status %d: %s", status, errs)
		}
		return err
	})
}
