package memory

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"regexp"
	"strconv"
	"time"

	"dlx.dev/dlx/backends"
)

type launcher struct{ c *Cloud }

func (l launcher) machine(op string, m backends.Machine, id string) (*machine, error) {
	if l.c.cfg.Fault != nil {
		if err := l.c.cfg.Fault(op, m, id); err != nil {
			return nil, err
		}
	}
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	if x := l.c.machines[m.ID]; x != nil {
		return x, nil
	}
	return nil, backends.Errorf(backends.Infra, op+" "+id, "machine %q is gone", m.ID)
}

// Stage implements backends.Launcher.
func (l launcher) Stage(_ context.Context, m backends.Machine, f backends.File) (string, error) {
	x, err := l.machine("stage", m, f.Name)
	if err != nil {
		return "", err
	}
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	if path := x.files[f.SHA256]; path != "" {
		return path, nil
	}
	b, err := os.ReadFile(f.Path)
	if err != nil {
		return "", backends.Errorf(backends.Config, "stage "+f.Name, "%w", err)
	}
	sum := sha256.Sum256(b)
	hash := hex.EncodeToString(sum[:])
	if f.SHA256 != "" && f.SHA256 != hash {
		return "", backends.Errorf(backends.Config, "stage "+f.Name, "%s has the checksum %s, not %s as declared", f.Path, hash, f.SHA256)
	}
	path := "/files/" + hash + "/" + f.Name
	x.files[hash] = path
	return path, nil
}

// Prepare implements backends.Launcher.
func (l launcher) Prepare(_ context.Context, ms []backends.Machine) ([]backends.Machine, error) {
	return ms, nil
}

// Address implements backends.Launcher.
func (l launcher) Address(m backends.Machine, _ string, _ int) string { return m.Address }

var groupID = regexp.MustCompile(`^[A-Za-z0-9._=,+/-]+$`)

// CPUs is what every machine has. A process that asks for more is refused.
const CPUs = 64

// Queue implements backends.Queuer.
func (l launcher) Queue(ctx context.Context, groups []backends.Group) (bool, error) {
	queued := false
	for _, g := range groups {
		in, err := l.turn(ctx, g)
		queued = queued || in
		if err != nil {
			return queued, err
		}
	}
	return queued, nil
}

// turn waits for that of one group.
func (l launcher) turn(ctx context.Context, g backends.Group) (bool, error) {
	if l.c.cfg.Queue == nil {
		return false, nil
	}
	l.c.mu.Lock()
	turn, known := l.c.turns[g.ID]
	if !known {
		if wait := l.c.cfg.Queue(g); wait > 0 {
			turn = time.Now().Add(wait)
		}
		l.c.turns[g.ID] = turn
	}
	l.c.mu.Unlock()
	if turn.IsZero() {
		return false, nil
	}
	select {
	case <-time.After(time.Until(turn)):
		return true, nil
	case <-ctx.Done():
		return true, context.Cause(ctx)
	}
}

// Start implements backends.Launcher.
func (l launcher) Start(_ context.Context, g backends.Group) error {
	if err := g.Check(); err != nil {
		return err
	}
	switch op := "start " + strconv.Quote(g.ID); {
	case !groupID.MatchString(g.ID):
		return backends.Errorf(backends.Config, op, "not of letters, digits and ._=,+/-")
	case g.CPUs > CPUs:
		return backends.Errorf(backends.Config, op, "%d CPUs are asked for and the machine has %d", g.CPUs, CPUs)
	}
	for i, m := range g.Machines {
		if err := l.start(m, g.Process(i)); err != nil { //nolint:contextcheck // the processes outlive the call
			return err
		}
	}
	return nil
}

func (l launcher) start(m backends.Machine, p backends.Process) error {
	x, err := l.machine("start", m, p.ID)
	if err != nil {
		return err
	}
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	if x.procs[p.ID] == nil {
		x.procs[p.ID] = l.begin(x, p)
	}
	return nil
}

func (l launcher) process(op string, m backends.Machine, id string) (*machine, *process, error) {
	x, err := l.machine(op, m, id)
	if err != nil {
		return nil, nil, err
	}
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	if p := x.procs[id]; p != nil {
		return x, p, nil
	}
	return nil, nil, backends.Errorf(backends.Infra, op+" "+id, "process: %w", backends.ErrNotFound)
}

// Wait implements backends.Launcher.
func (l launcher) Wait(ctx context.Context, m backends.Machine, id string) (backends.Exit, error) {
	x, p, err := l.process("wait", m, id)
	if err != nil {
		return backends.Exit{}, err
	}
	select {
	case <-p.done:
	case <-x.done.Done():
		return backends.Exit{}, backends.Errorf(backends.Infra, "wait "+id, "machine %q is gone", m.ID)
	case <-ctx.Done():
		return backends.Exit{}, context.Cause(ctx)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exit, nil
}

// Stop implements backends.Launcher.
func (l launcher) Stop(ctx context.Context, m backends.Machine, id string, grace time.Duration) error {
	_, p, err := l.process("stop", m, id)
	if err != nil {
		return ignoreNotFound(err)
	}
	return p.stop(ctx, grace)
}

// Open implements backends.Launcher.
func (l launcher) Open(_ context.Context, m backends.Machine, id, name string, offset int64) (io.ReadCloser, error) {
	_, p, err := l.process("open", m, id)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.files[name]
	if b == nil {
		return nil, backends.Errorf(backends.Workload, "open "+id+"/"+name, "file: %w", backends.ErrNotFound)
	}
	data := bytes.Clone(b.Bytes())
	return io.NopCloser(bytes.NewReader(data[min(max(offset, 0), int64(len(data))):])), nil
}

// Close implements backends.Launcher.
func (launcher) Close() error { return nil }

func ignoreNotFound(err error) error {
	if errors.Is(err, backends.ErrNotFound) {
		return nil
	}
	return err
}
