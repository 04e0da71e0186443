package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"dlx.dev/dlx/backends"
)

// maxSessions is how many calls share a connection: OpenSSH's MaxSessions is 10 by default, one
// is for sftp, one stays free.
const maxSessions = 8

// loginTime bounds the handshake; sshd's LoginGraceTime is two minutes, a good one takes less
// than a second.
const loginTime = 30 * time.Second

// machine is what a Launcher knows of one machine.
type machine struct {
	name   string
	access backends.SSH
	opt    *Options
	via    *machine // the jump host; nil: none
	role   string   // "the machine" or "the jump host"
	room   int      // so many calls share a connection

	dialing chan struct{} // held by the one who dials

	mu      sync.Mutex
	conns   []*conn
	closed  bool
	home    string                   // absolute path of the login's home, once known
	script  string                   // path of the supervisor, once staged
	staging map[string]chan struct{} // by checksum: held by the one who sends
}

// conn is a connection to a machine, used by several calls at once.
type conn struct {
	m      *machine
	client *ssh.Client
	dead   chan struct{} // closed when the connection has ended

	opening chan struct{} // held by the one who opens files
	files   *sftp.Client

	calls int // guarded by m.mu
}

// acquire gives a connection with room for one more call.
func (m *machine) acquire(ctx context.Context) (*conn, error) {
	select {
	case m.dialing <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-m.dialing }()

	if c := m.pick(); c != nil {
		return c, nil
	}
	client, err := m.login(ctx)
	if err != nil {
		return nil, err
	}
	c := &conn{m: m, client: client, dead: make(chan struct{}), opening: make(chan struct{}, 1), calls: 1}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		_ = client.Close()
		return nil, backends.Errorf(backends.Canceled, "reach "+m.name, "the launcher is closed")
	}
	m.conns = append(m.conns, c)
	go func() {
		_ = client.Wait()
		close(c.dead)
	}()
	go c.keepalive(m.opt.Keepalive)
	return c, nil
}

// pick takes a living connection with room and forgets the dead ones.
func (m *machine) pick() *conn {
	m.mu.Lock()
	defer m.mu.Unlock()
	alive := m.conns[:0]
	var found *conn
	for _, c := range m.conns {
		select {
		case <-c.dead:
			continue
		default:
		}
		alive = append(alive, c)
		if found == nil && c.calls < m.room {
			found = c
		}
	}
	m.conns = alive
	if found != nil {
		found.calls++
	}
	return found
}

func (m *machine) close() {
	m.mu.Lock()
	conns := m.conns
	m.conns, m.closed = nil, true
	m.mu.Unlock()
	for _, c := range conns {
		c.close()
	}
}

func (c *conn) release() {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	c.calls--
}

// close ends the connection for all who use it.
func (c *conn) close() {
	_ = c.client.Close()
	<-c.dead
}

// keepalive closes the connection when the machine has not answered twice in a row.
func (c *conn) keepalive(every time.Duration) {
	for {
		select {
		case <-c.dead:
			return
		case <-time.After(every):
		}
		answer := make(chan struct{}, 1)
		go func() {
			_, _, _ = c.client.SendRequest("keepalive@openssh.com", true, nil) // refused is answered, too
			answer <- struct{}{}
		}()
		for misses := 0; ; {
			select {
			case <-c.dead:
				return
			case <-answer:
			case <-time.After(every):
				if misses++; misses < 2 {
					continue
				}
				_ = c.client.Close()
				return
			}
			break
		}
	}
}

// login opens a connection and proves both sides: the machine by its pinned key, us by ours.
func (m *machine) login(ctx context.Context) (*ssh.Client, error) {
	a, op := &m.access, "log into "+m.access.User+"@"+m.access.Addr
	if m.role == jumpHost {
		op = "log into the jump host " + a.User + "@" + a.Addr
	}
	pinned, _, _, _, err := ssh.ParseAuthorizedKey(a.HostKey)
	if err != nil {
		return nil, backends.Errorf(backends.Internal, op, "the pinned host key: %w", err)
	}
	dial, err := m.way(ctx) // has its own time
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, loginTime, fmt.Errorf("%s: no answer in %v", op, loginTime))
	defer cancel()
	keys, err := signers(ctx, a, op)
	if err != nil {
		return nil, err
	}
	nc, err := dial(ctx, "tcp", a.Addr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	var wrong error
	sc, chans, reqs, err := ssh.NewClientConn(nc, a.Addr, &ssh.ClientConfig{
		User:              a.User,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(keys...)},
		HostKeyAlgorithms: algorithms(pinned.Type()),
		HostKeyCallback: func(_ string, _ net.Addr, got ssh.PublicKey) error {
			if !bytes.Equal(got.Marshal(), pinned.Marshal()) {
				wrong = backends.Errorf(backends.Config, op, "%s shows the host key %s and not the pinned %s: refused",
					m.role, ssh.FingerprintSHA256(got), ssh.FingerprintSHA256(pinned))
			}
			return wrong
		},
	})
	if !stop() && err == nil {
		_ = sc.Close()
		err = context.Cause(ctx)
	}
	if err == nil {
		return ssh.NewClient(sc, chans, reqs), nil
	}
	_ = nc.Close()
	var none *ssh.AlgorithmNegotiationError
	switch {
	case wrong != nil:
		return nil, wrong
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.As(err, &none) && strings.Contains(err.Error(), "host key"):
		return nil, backends.Errorf(backends.Config, op, "%s has no %s host key, which is the pinned kind: refused", m.role, pinned.Type())
	case strings.Contains(err.Error(), "unable to authenticate"): // x/crypto/ssh has no type for it
		if m.role == jumpHost { // not ErrLogin: it is no machine that is still booting
			return nil, backends.Errorf(backends.Config, op, "login refused")
		}
		return nil, &backends.Error{Class: backends.Config, Op: op, Err: ErrLogin}
	}
	return nil, fmt.Errorf("%s: %w", op, err)
}

// algorithms lists the signatures that a host key of the type can make.
func algorithms(keyType string) []string {
	if keyType == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{keyType}
}

// sftp gives the connection's file client.
func (c *conn) sftp(ctx context.Context) (*sftp.Client, error) {
	select {
	case c.opening <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-c.opening }()
	if c.files != nil {
		return c.files, nil
	}
	f, err := sftp.NewClient(c.client)
	if err != nil {
		return nil, fmt.Errorf("sftp: %w", err)
	}
	c.files = f
	return f, nil
}

// maxOutput is how much of a command's output is kept: our commands print a few lines.
const maxOutput = 1 << 16

// exec runs a command of plain words (no shell of the login needs to quote anything) and gives
// its status. Being cut off is an error without a class.
func (c *conn) exec(ctx context.Context, command string, stdin []byte) (status int, stdout, stderr string, err error) {
	s, err := c.client.NewSession()
	if err != nil {
		return 0, "", "", fmt.Errorf("session: %w", err)
	}
	var out, errs capped
	s.Stdin, s.Stdout, s.Stderr = bytes.NewReader(stdin), &out, &errs
	done := make(chan error, 1)
	go func() {
		defer func() { _ = s.Close() }()
		done <- s.Run(command)
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		_ = s.Close()
		return 0, "", "", context.Cause(ctx)
	}
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return 0, out.String(), errs.String(), nil
	case errors.As(err, &exit) && exit.Signal() == "":
		return exit.ExitStatus(), out.String(), errs.String(), nil
	case errors.As(err, &exit):
		return 0, "", "", backends.Errorf(backends.Infra, "run "+verb(command), "ended by signal %s on the machine", exit.Signal())
	}
	return 0, "", "", fmt.Errorf("connection lost: %w", err)
}

// verb shortens a command of ours to what it does, for messages.
func verb(command string) string {
	if f := strings.Fields(command); len(f) > 2 {
		return f[2]
	}
	return command
}

// capped is a buffer that forgets what is too much.
type capped struct{ buf bytes.Buffer }

func (c *capped) Write(p []byte) (int, error) {
	c.buf.Write(p[:min(len(p), maxOutput-c.buf.Len())])
	return len(p), nil
}

func (c *capped) String() string { return strings.TrimSpace(c.buf.String()) }
