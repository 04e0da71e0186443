package ssh

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"dlx.dev/dlx/backends"
)

const jumpHost = "the jump host"

// jump gives what the launcher knows of a jump host: a machine whose one connection carries any
// number of others.
func (l *Launcher) jump(a *backends.SSH) (*machine, error) {
	var via *machine
	if a.Via != nil {
		var err error
		if via, err = l.jump(a.Via); err != nil {
			return nil, err
		}
	}
	return l.known(&machine{name: a.Addr, access: *a, via: via, role: jumpHost, room: math.MaxInt})
}

// ReachJump logs into a jump host once, without patience, and keeps the connection for the machines
// behind it. A wrong host key and a refused login are errors of class Config.
func (l *Launcher) ReachJump(ctx context.Context, a *backends.SSH) error {
	m, err := l.jump(a)
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

// way gives the Dial that leads to the machine.
func (m *machine) way(ctx context.Context) (func(context.Context, string, string) (net.Conn, error), error) {
	if m.via == nil {
		return m.opt.Dial, nil
	}
	c, err := m.via.acquire(ctx)
	if err != nil {
		return nil, err
	}
	c.release()
	return c.dial, nil
}

// dial opens a connection from a jump host on.
func (c *conn) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	nc, err := c.client.DialContext(ctx, network, addr)
	op := "the jump host " + c.m.access.Addr
	var refused *ssh.OpenChannelError
	switch {
	case err == nil:
		return nc, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.As(err, &refused) && (refused.Reason == ssh.Prohibited || refused.Reason == ssh.UnknownChannelType):
		return nil, backends.Errorf(backends.Config, op, "it forwards no connections (AllowTcpForwarding and PermitOpen of its sshd_config): %s", refused.Message)
	case errors.As(err, &refused):
		return nil, fmt.Errorf("%s cannot reach it: %s", op, refused.Message)
	}
	c.close()
	return nil, fmt.Errorf("the connection to %s is lost: %w", op, err)
}

// signers gives the keys that a login is tried with. Those of an agent work until ctx, the login's, ends.
func signers(ctx context.Context, a *backends.SSH, op string) ([]ssh.Signer, error) {
	if len(a.Key) > 0 {
		key, err := ssh.ParsePrivateKey(a.Key)
		if err != nil {
			return nil, backends.Errorf(backends.Internal, op, "its key is no private key") // the cause could quote it
		}
		return []ssh.Signer{key}, nil
	}
	socket := os.Getenv("SSH_AUTH_SOCK")
	if socket == "" {
		return nil, backends.Errorf(backends.Config, op, "no key is named and no ssh-agent runs (SSH_AUTH_SOCK is not set)")
	}
	var keys []ssh.Signer
	nc, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err == nil {
		context.AfterFunc(ctx, func() { _ = nc.Close() })
		keys, err = agent.NewClient(nc).Signers()
	}
	switch {
	case err != nil:
		return nil, backends.Errorf(backends.Config, op, "the ssh-agent of SSH_AUTH_SOCK: %w", err)
	case len(keys) == 0:
		return nil, backends.Errorf(backends.Config, op, "no key is named and the ssh-agent holds none (ssh-add adds one)")
	}
	return keys, nil
}
