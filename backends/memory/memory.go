// Package memory is a backend whose machines and processes exist only in this program: they
// sleep and remember. Inside a testing/synctest bubble its time is virtual, so that a run of
// three hours takes milliseconds.
package memory

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/internal/leftovers"
)

// Config scripts a Cloud. Its functions may be called from many goroutines; nil ones do nothing.
type Config struct {
	// Boot is how long a machine takes to come up, and how it fails to.
	Boot func(o backends.Owner, m backends.MachineRequest) (time.Duration, error)
	// Remove is how long the release of a fleet takes, and how it fails to.
	Remove func(o backends.Owner) (time.Duration, error)
	// Check says what is wrong with a request, before anything is noted or made.
	Check func(m backends.MachineRequest) error
	// Refuse is asked before a machine is made; its error refuses it. With a time above zero the
	// backend asks again after it, as after HTTP's Retry-After.
	Refuse func(o backends.Owner, m backends.MachineRequest) (time.Duration, error)
	// Run is the program of a process: it writes its output, sleeps by ctx, and returns its exit
	// code. ctx ends when the process is asked to end, by Stop or because its time is over; one
	// that goes on is killed a grace later, and has to return then (see Killed). Files come from Create.
	Run func(ctx context.Context, m backends.Machine, p backends.Process, stdout, stderr io.Writer) int
	// Queue is how long a group waits for its turn, which is decided when it is first asked for; 0: it
	// does not.
	Queue func(g backends.Group) time.Duration
	// Fault is asked before every call of the launcher ("start", "wait", "stop", "open", "stage").
	Fault func(op string, m backends.Machine, id string) error
	// Quota is the number of machines that may exist at a time; 0: no limit. See also SetQuota.
	Quota int
}

// A Cloud is the world: it keeps machines and processes while backends over it come and go, as a
// real cloud does when dlx dies. It is safe for concurrent use.
type Cloud struct {
	cfg Config

	mu       sync.Mutex
	machines map[string]*machine  // by ID
	turns    map[string]time.Time // by group, when it may start
	next     int
}

type machine struct {
	owner backends.Owner
	until time.Time
	m     backends.Machine
	up    chan struct{} // closed when booted
	err   error
	done  context.Context // ends when the machine is removed
	end   context.CancelFunc
	procs map[string]*process
	files map[string]string // sha256 -> path
}

// New makes an empty cloud.
func New(cfg Config) *Cloud {
	return &Cloud{cfg: cfg, machines: map[string]*machine{}, turns: map[string]time.Time{}}
}

// Backend returns a backend over the cloud, as a program that starts would open it.
func (c *Cloud) Backend() *backends.Backend {
	return &backends.Backend{
		Provider:  provider{c},
		Launchers: map[string]backends.Launcher{"memory": launcher{c}},
		Close:     func(context.Context) error { return nil },
	}
}

// SetQuota changes the number of machines that may exist at a time; 0: no limit.
func (c *Cloud) SetQuota(machines int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cfg.Quota = machines
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
	if c.cfg.Check != nil {
		if err := c.cfg.Check(r); err != nil {
			return nil, err
		}
	}
	if err := req.Ledger.Intend(ctx, req.Owner, object(name)); err != nil {
		return nil, err
	}
	if err := c.refuse(ctx, req.Owner, r); err != nil {
		return nil, err
	}
	var delay time.Duration
	var err error
	if c.cfg.Boot != nil {
		delay, err = c.cfg.Boot(req.Owner, r)
	}
	c.mu.Lock()
	if used, quota := len(c.machines), c.cfg.Quota; quota > 0 && used >= quota {
		c.mu.Unlock()
		return nil, backends.Errorf(backends.Quota, "create server "+name, "quota exceeded for instances: used %d of %d", used, quota)
	}
	c.next++
	ctx2, end := context.WithCancel(context.Background()) //nolint:forbidigo // the machine outlives the call
	m := &machine{
		owner: req.Owner, until: req.Until, up: make(chan struct{}), err: err, done: ctx2, end: end, procs: map[string]*process{}, files: map[string]string{},
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

// refuse asks whether a machine may be made, again after each time that it is told.
func (c *Cloud) refuse(ctx context.Context, o backends.Owner, r backends.MachineRequest) error {
	if c.cfg.Refuse == nil {
		return nil
	}
	for {
		wait, err := c.cfg.Refuse(o, r)
		if err == nil || wait <= 0 {
			return err
		}
		if !sleep(ctx, wait) {
			return context.Cause(ctx)
		}
	}
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

// Leftovers implements backends.Collector.
func (p provider) Leftovers(context.Context) ([]backends.Leftover, error) {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	var out []backends.Leftover
	for id, m := range p.c.machines {
		out = append(out, backends.Leftover{Owner: m.owner, Until: m.until, Object: backends.Object{Kind: "server", Name: id, ID: id}})
	}
	return leftovers.Complete(out), nil
}

var _ backends.Checker = provider{}

// Check implements backends.Checker: what is scripted to go wrong is not known before.
func (provider) Check(context.Context, string, []backends.Need) ([]backends.Finding, error) {
	return nil, nil
}

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
