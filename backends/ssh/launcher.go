package ssh

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"sync"
	"time"

	"github.com/pkg/sftp"

	"dlx.dev/dlx/backends"
)

// Options set how a Launcher reaches machines. The zero value is right for machines on a network.
type Options struct {
	// Dial opens connections, to a jump host where there is one; nil: a net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	// Patience is how long a machine may be unreachable before a call gives up with class
	// Transport. 0: two minutes, about what a reboot of a VM takes.
	Patience time.Duration

	// Keepalive is how often an idle connection is asked whether it lives; after two
	// unanswered questions it is closed. 0: 15 s, below the idle limits of usual NAT tables.
	Keepalive time.Duration

	// Log tells the curious what happens; may be nil.
	Log func(format string, args ...any)
}

// A Launcher runs processes over SSH. It implements backends.Launcher.
type Launcher struct {
	opt Options

	mu       sync.Mutex
	machines map[string]*machine
	closed   bool
}

var _ backends.Launcher = (*Launcher)(nil)

// New makes a Launcher. It connects to nothing yet.
func New(o Options) *Launcher {
	if o.Dial == nil {
		o.Dial = (&net.Dialer{Timeout: 15 * time.Second}).DialContext
	}
	if o.Patience == 0 {
		o.Patience = 2 * time.Minute
	}
	if o.Keepalive == 0 {
		o.Keepalive = 15 * time.Second
	}
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	return &Launcher{opt: o, machines: map[string]*machine{}}
}

// ErrLogin is what errors match when a machine with the right host key refuses the login.
var ErrLogin = errors.New("login refused")

// Reach logs into a machine once, without patience, and keeps the connection for later. A wrong
// host key is an error of class Config; a refused login is one too and matches ErrLogin.
func (l *Launcher) Reach(ctx context.Context, a *backends.SSH) error {
	m, err := l.machine(backends.Machine{Name: a.Addr, Access: backends.Access{SSH: a}})
	if err != nil {
		return err
	}
	c, err := m.acquire(ctx)
	if err != nil {
		return err
	}
	c.release()
	return nil
}

// Close lets all connections go. Processes stay. Calls after it fail.
func (l *Launcher) Close() error {
	l.mu.Lock()
	all := l.machines
	l.machines, l.closed = nil, true
	l.mu.Unlock()
	for _, m := range all {
		m.close()
	}
	return nil
}

// machine gives what the launcher knows of m.
func (l *Launcher) machine(m backends.Machine) (*machine, error) {
	a := m.Access.SSH
	if a == nil {
		return nil, backends.Errorf(backends.Internal, "reach "+m.Name, "no ssh access (access is %q)", m.Access.Kind())
	}
	var via *machine
	if a.Via != nil {
		var err error
		if via, err = l.jump(a.Via); err != nil {
			return nil, err
		}
	}
	return l.known(&machine{name: m.Name, access: *a, via: via, role: "the machine", room: maxSessions})
}

// known gives the machine that the launcher knows already, or takes up this one.
func (l *Launcher) known(m *machine) (*machine, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, backends.Errorf(backends.Canceled, "reach "+m.name, "the launcher is closed")
	}
	key := m.key()
	if there := l.machines[key]; there != nil {
		return there, nil
	}
	m.opt, m.dialing, m.staging = &l.opt, make(chan struct{}, 1), map[string]chan struct{}{}
	l.machines[key] = m
	return m, nil
}

// key tells machines apart: behind another jump host, the same address is another machine.
func (m *machine) key() string {
	k := m.role + " " + m.access.User + "@" + m.access.Addr + " " + string(m.access.HostKey)
	if m.via != nil {
		k += " by " + m.via.key()
	}
	return k
}

// stale is the error of a call that found something on the machine in a state that the next
// attempt mends; its connection is as good as before.
type stale struct{ err error }

func (s *stale) Error() string { return s.err.Error() }
func (s *stale) Unwrap() error { return s.err }

// stuck is how long a call may go on after its context has ended: sftp listens to no context,
// but ends with its connection.
const stuck = 2 * time.Second

// call runs f. What sftp refuses (no permission, no space) is the machine's trouble, not the
// connection's.
func (c *conn) call(ctx context.Context, m *machine, f func(*machine, *conn) error) error {
	done := make(chan struct{})
	defer close(done)
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-done:
		case <-time.After(stuck):
			c.close()
		}
	})
	defer stop()
	err := f(m, c)
	var classed *backends.Error
	var refused *sftp.StatusError
	switch {
	case errors.As(err, &classed):
		return err
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrExist), errors.As(err, &refused) && !errors.Is(err, sftp.ErrSSHFxConnectionLost):
		return &backends.Error{Class: backends.Infra, Op: "file", Err: err}
	}
	return err
}

// steady is how long a connection has to hold for the next loss to count as a first one.
const steady = 10 * time.Second

// do runs f over a connection to m. When the connection is lost it makes another and runs f
// again, until the machine has been away for longer than the launcher's patience. An error of f
// that has a class is final.
func (l *Launcher) do(ctx context.Context, m backends.Machine, op string, f func(*machine, *conn) error) error {
	mm, err := l.machine(m)
	if err != nil {
		return err
	}
	var away time.Time
	pause := 100 * time.Millisecond
	for {
		began := time.Now()
		var c *conn
		c, err = mm.acquire(ctx)
		if err == nil {
			err = c.call(ctx, mm, f)
			c.release()
			if err == nil {
				return nil
			}
		}
		var classed *backends.Error
		var mended *stale
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("%s: %w", op, context.Cause(ctx))
		case errors.As(err, &classed):
			return &backends.Error{Class: classed.Class, Op: op, Err: err}
		case c != nil && !errors.As(err, &mended):
			c.close()
		}
		now := time.Now()
		if away.IsZero() || (c != nil && now.Sub(began) > steady) {
			away, pause = now, 100*time.Millisecond
		}
		if now.Sub(away) >= l.opt.Patience {
			return backends.Errorf(backends.Transport, op, "%s cannot be reached since %v: %w", mm.access.Addr, now.Sub(away).Round(time.Second), err)
		}
		l.opt.Log("%s: %v; trying again in %v", op, err, pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", op, context.Cause(ctx))
		}
		pause = min(2*pause, 5*time.Second)
	}
}
