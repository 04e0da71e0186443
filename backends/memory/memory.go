// Package memory is a backend whose machines and processes exist only in this program: they
// sleep and remember. Inside a testing/synctest bubble its time is virtual, so that a run of
// three hours takes milliseconds.
package memory

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"dlx.dev/dlx/backends"
)

// Config scripts a Cloud. Its functions may be called from many goroutines; nil ones do nothing.
type Config struct {
	// Boot is how long a machine takes to come up, and how it fails to.
	Boot func(o backends.Owner, m backends.MachineRequest) (time.Duration, error)
	// Remove is how long the release of a fleet takes, and how it fails to.
	Remove func(o backends.Owner) (time.Duration, error)
	// Run is the program of a process: it writes its output, sleeps by ctx, and returns its exit
	// code. ctx ends when the process is killed or times out.
	Run func(ctx context.Context, m backends.Machine, p backends.Process, stdout, stderr io.Writer) int
	// Fault is asked before every call of the launcher ("start", "wait", "stop", "open", "stage").
	Fault func(op string, m backends.Machine, id string) error
	// Quota is the number of machines that may exist at a time; 0: no limit.
	Quota int
}

// A Cloud is the world: it keeps machines and processes while backends over it come and go, as a
// real cloud does when dlx dies. It is safe for concurrent use.
type Cloud struct {
	cfg Config

	mu       sync.Mutex
	machines map[string]*machine // by ID
	next     int
}

type machine struct {
	owner backends.Owner
	m     backends.Machine
	up    chan struct{} // closed when booted
	err   error
	done  context.Context // ends when the machine is removed
	end   context.CancelFunc
	procs map[string]*process
	files map[string]string // sha256 -> path
}

type process struct {
	done    chan struct{}
	cancel  context.CancelFunc
	exit    backends.Exit
	mu      sync.Mutex
	out     map[string]*bytes.Buffer
	stopped bool
}

// New makes an empty cloud.
func New(cfg Config) *Cloud {
	return &Cloud{cfg: cfg, machines: map[string]*machine{}}
}

// Backend returns a backend over the cloud, as a program that starts would open it.
func (c *Cloud) Backend() *backends.Backend {
	return &backends.Backend{
		Provider:  provider{c},
		Launchers: map[string]backends.Launcher{"memory": launcher{c}},
		Close:     func(context.Context) error { return nil },
	}
}

// Machines counts the machines that exist.
func (c *Cloud) Machines() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.machines)
}

type provider struct{ c *Cloud }

// Provision implements backends.Provider.
func (p provider) Provision(ctx context.Context, req backends.FleetRequest) ([]backends.Machine, error) {
	made := make([]*machine, len(req.Machines))
	for i, r := range req.Machines {
		m, err := p.c.create(ctx, req, r)
		if err != nil {
			return nil, err
		}
		made[i] = m
	}
	out := make([]backends.Machine, len(made))
	for i, m := range made {
		select {
		case <-m.up:
			if m.err != nil {
				return nil, m.err
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		out[i] = m.m
	}
	return out, nil
}

func object(name string) backends.Object { return backends.Object{Kind: "server", Name: name} }

func (c *Cloud) create(ctx context.Context, req backends.FleetRequest, r backends.MachineRequest) (*machine, error) {
	name := req.Owner.Run + "-" + req.Owner.Fleet + "-" + r.Name
	if m := c.find(name, req.Owner); m != nil {
		return m, nil
	}
	if err := req.Ledger.Intend(ctx, req.Owner, object(name)); err != nil {
		return nil, err
	}
	var delay time.Duration
	var err error
	if c.cfg.Boot != nil {
		delay, err = c.cfg.Boot(req.Owner, r)
	}
	c.mu.Lock()
	if c.cfg.Quota > 0 && len(c.machines) >= c.cfg.Quota {
		c.mu.Unlock()
		return nil, backends.Errorf(backends.Quota, "create server "+name, "quota exceeded for instances: used %d of %d", c.cfg.Quota, c.cfg.Quota)
	}
	c.next++
	ctx2, end := context.WithCancel(context.Background()) //nolint:forbidigo // the machine outlives the call
	m := &machine{
		owner: req.Owner, up: make(chan struct{}), err: err, done: ctx2, end: end, procs: map[string]*process{}, files: map[string]string{},
		m: backends.Machine{
			Name: r.Name, ID: name, Address: fmt.Sprintf("10.0.%d.%d", c.next/250, c.next%250+1), Host: fmt.Sprintf("host%d", c.next%4),
			Access: backends.Access{Memory: &backends.Memory{}}, Facts: map[string]string{"backend": "memory"},
		},
	}
	c.machines[name] = m
	c.mu.Unlock()
	go func() {
		sleep(m.done, delay)
		close(m.up)
	}()
	o := object(name)
	o.ID = name
	return m, req.Ledger.Made(ctx, req.Owner, o)
}

func (c *Cloud) find(id string, o backends.Owner) *machine {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := c.machines[id]; m != nil && m.owner == o {
		return m
	}
	return nil
}

// Release implements backends.Provider.
func (p provider) Release(ctx context.Context, o backends.Owner, l backends.Ledger) error {
	if p.c.cfg.Remove != nil {
		delay, err := p.c.cfg.Remove(o)
		if err != nil {
			return err
		}
		if !sleep(ctx, delay) {
			return context.Cause(ctx)
		}
	}
	owned, _ := p.Owned(ctx, o)
	for _, obj := range owned {
		p.c.mu.Lock()
		m := p.c.machines[obj.Name]
		delete(p.c.machines, obj.Name)
		p.c.mu.Unlock()
		if m == nil {
			continue
		}
		m.end()
		obj.ID = ""
		if err := l.Gone(ctx, m.owner, obj); err != nil {
			return err
		}
	}
	return nil
}

// Owned implements backends.Provider.
func (p provider) Owned(_ context.Context, o backends.Owner) ([]backends.Object, error) {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	var out []backends.Object
	for id, m := range p.c.machines {
		if m.owner.Run == o.Run && (o.Fleet == "" || m.owner.Fleet == o.Fleet) {
			out = append(out, backends.Object{Kind: "server", Name: id, ID: id})
		}
	}
	slices.SortFunc(out, func(a, b backends.Object) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
	return out, nil
}

type launcher struct{ c *Cloud }

// never is longer than any test's virtual time.
const never = 100 * 365 * 24 * time.Hour

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
	if f.SHA256 == "" {
		b, err := os.ReadFile(f.Path)
		if err != nil {
			return "", backends.Errorf(backends.Internal, "stage "+f.Name, "%w", err)
		}
		sum := sha256.Sum256(b)
		f.SHA256 = hex.EncodeToString(sum[:])
	}
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	path := "/files/" + f.SHA256 + "/" + f.Name
	x.files[f.SHA256] = path
	return path, nil
}

// Prepare implements backends.Launcher.
func (l launcher) Prepare(_ context.Context, ms []backends.Machine) ([]backends.Machine, error) {
	return ms, nil
}

// Address implements backends.Launcher.
func (l launcher) Address(m backends.Machine, _ string, _ int) string { return m.Address }

// Start implements backends.Launcher.
func (l launcher) Start(_ context.Context, g backends.Group) error {
	if err := g.Check(); err != nil {
		return err
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
	if x.procs[p.ID] != nil {
		return nil
	}
	timeout := p.Timeout
	if timeout <= 0 {
		timeout = never
	}
	ctx, cancel := context.WithTimeout(x.done, timeout)
	pr := &process{done: make(chan struct{}), cancel: cancel, out: map[string]*bytes.Buffer{
		backends.Stdout: {}, backends.Stderr: {}, backends.Probe: bytes.NewBufferString("backend=memory\nhost=" + x.m.Host + "\n"),
	}}
	x.procs[p.ID] = pr
	go func() {
		defer cancel()
		start := time.Now()
		code := 0
		if l.c.cfg.Run != nil {
			code = l.c.cfg.Run(ctx, x.m, p, pr.writer(backends.Stdout), pr.writer(backends.Stderr))
		}
		pr.mu.Lock()
		pr.exit = backends.Exit{Code: code, Started: start, Elapsed: time.Since(start), Stopped: pr.stopped}
		if context.Cause(ctx) == context.DeadlineExceeded { //nolint:errorlint // the cause itself, never wrapped
			pr.exit.TimedOut = true
		}
		if ctx.Err() != nil && code == 0 {
			pr.exit.Code = 128 + 15 // as after SIGTERM
		}
		pr.mu.Unlock()
		close(pr.done)
	}()
	return nil
}

func (p *process) writer(name string) io.Writer { return procWriter{p, name} }

type procWriter struct {
	p    *process
	name string
}

func (w procWriter) Write(b []byte) (int, error) {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	return w.p.out[w.name].Write(b)
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
func (l launcher) Stop(ctx context.Context, m backends.Machine, id string, _ time.Duration) error {
	_, p, err := l.process("stop", m, id)
	if err != nil {
		return ignoreNotFound(err)
	}
	p.mu.Lock()
	select {
	case <-p.done:
	default:
		p.stopped = true
	}
	p.mu.Unlock()
	p.cancel()
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Open implements backends.Launcher.
func (l launcher) Open(_ context.Context, m backends.Machine, id, name string, offset int64) (io.ReadCloser, error) {
	_, p, err := l.process("open", m, id)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.out[name]
	if b == nil {
		return nil, backends.Errorf(backends.Workload, "open "+id+"/"+name, "file: %w", backends.ErrNotFound)
	}
	data := bytes.Clone(b.Bytes())
	return io.NopCloser(bytes.NewReader(data[min(max(offset, 0), int64(len(data))):])), nil
}

// Close implements backends.Launcher.
func (launcher) Close() error { return nil }

// sleep waits and reports whether it did so to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func ignoreNotFound(err error) error {
	if errors.Is(err, backends.ErrNotFound) {
		return nil
	}
	return err
}
