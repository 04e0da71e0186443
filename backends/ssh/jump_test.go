package ssh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/pipenet"
	"dlx.dev/dlx/backends/sandbox"
)

// behind is a network of machines that are reached over a jump host alone.
type behind struct {
	net  *pipenet.Network
	jump *sandbox.JumpHost
	via  *backends.SSH
}

func newBehind(t *testing.T, machines ...*peer) *behind {
	t.Helper()
	b := &behind{net: &pipenet.Network{}}
	for i, p := range machines {
		l, err := b.net.Listen(fmt.Sprintf("m%d:22", i))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go p.serve(l)
	}
	l, err := b.net.Listen("jump:22")
	if err != nil {
		t.Fatal(err)
	}
	host, _ := signer(t, 'j')
	mine, _ := signer(t, 'k')
	b.jump = sandbox.StartJump(l, host, string(ssh.MarshalAuthorizedKey(mine.PublicKey())), b.net.DialContext)
	t.Cleanup(b.jump.Close)
	b.via = access(t, host)
	b.via.Addr, b.via.User = "jump:22", sandbox.User
	return b
}

// dial lets connections to the jump host through.
func (b *behind) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if !strings.HasPrefix(addr, "jump") {
		return nil, errors.New("no route to host")
	}
	return b.net.DialContext(ctx, network, addr)
}

func (b *behind) access(t *testing.T, host ssh.Signer, addr string) *backends.SSH {
	t.Helper()
	a := access(t, host)
	a.Addr, a.Via = addr, b.via
	return a
}

func TestManyMachinesShareTheConnectionToTheirJumpHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, _ := signer(t, 'h')
		machines := make([]*peer, 30)
		for i := range machines {
			machines[i] = &peer{host: host}
		}
		b := newBehind(t, machines...)
		la := New(Options{Dial: b.dial})
		defer la.Close()
		for round := 1; round <= 2; round++ {
			var all sync.WaitGroup
			for i := range machines {
				a := b.access(t, host, fmt.Sprintf("m%d:22", i))
				all.Go(func() {
					if err := la.Reach(t.Context(), a); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if n := b.jump.Logins(); n != round {
				t.Errorf("round %d: %d logins to the jump host", round, n)
			}
			b.jump.Drop()
			synctest.Wait()
		}
	})
}

func TestTroubleOfAJumpHostIsToldApart(t *testing.T) {
	host, _ := signer(t, 'h')
	other, _ := signer(t, 'o')
	for _, c := range []struct {
		name   string
		refuse bool
		change func(a, via *backends.SSH)
		class  backends.Class // "": none of its own, so that it is tried again
		login  bool           // matches ErrLogin
		want   string
	}{
		{name: "nothing"},
		{name: "nobody there", change: func(_, via *backends.SSH) { via.Addr = "jump-nowhere:22" }, want: "log into the jump host sandbox@jump-nowhere:22: "},
		{name: "another host key of the jump host", change: func(_, via *backends.SSH) { via.HostKey = ssh.MarshalAuthorizedKey(other.PublicKey()) }, class: backends.Config,
			want: "log into the jump host sandbox@jump:22: the jump host shows the host key SHA256:"},
		{name: "another kind of host key of the jump host", change: func(_, via *backends.SSH) { via.HostKey = []byte(rsaKey) }, class: backends.Config,
			want: "the jump host has no ssh-rsa host key, which is the pinned kind: refused"},
		{name: "a refused login to the jump host", change: func(_, via *backends.SSH) { via.User = "stranger" }, class: backends.Config,
			want: "log into the jump host stranger@jump:22: login refused"},
		{name: "a machine that the jump host cannot reach", change: func(a, _ *backends.SSH) { a.Addr = "m9:22" },
			want: "log into u@m9:22: the jump host jump:22 cannot reach it: Connection refused"},
		{name: "another host key of the machine", change: func(a, _ *backends.SSH) { a.HostKey = ssh.MarshalAuthorizedKey(other.PublicKey()) }, class: backends.Config,
			want: "log into u@m0:22: the machine shows the host key SHA256:"},
		{name: "a refused login to the machine", refuse: true, class: backends.Config, login: true, want: "log into u@m0:22: login refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBehind(t, &peer{host: host, refuse: c.refuse})
				a := b.access(t, host, "m0:22")
				if c.change != nil {
					c.change(a, a.Via)
				}
				la := New(Options{Dial: b.dial, Patience: time.Minute})
				defer la.Close()
				err := la.Reach(t.Context(), a)
				var classed *backends.Error
				if class := backends.ClassOf(err); errors.As(err, &classed) != (c.class != "") || classed != nil && class != c.class {
					t.Errorf("got class %q (%v); want %q", class, err, c.class)
				}
				if errors.Is(err, ErrLogin) != c.login || (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v; want %s", err, c.want)
				}
				if c.class == "" && c.want != "" { // with patience
					_, err := la.Wait(t.Context(), backends.Machine{Name: "m", Access: backends.Access{SSH: a}}, "p")
					if backends.ClassOf(err) != backends.Transport || !strings.Contains(err.Error(), c.want) {
						t.Errorf("got %v; want class transport and %s", err, c.want)
					}
				}
			})
		})
	}
}

const rsaKey = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAQQC9Jv0mJ1mXHrG5NSQ2m0cxDzNQk4Z5CT1nVvR4q8xJk1b1mJ7sZqGm0Z0m0Z1Zr7Q9b1W0mB0m0m0m0m0m0m0r\n"

func TestAJumpHostThatForwardsNothing(t *testing.T) {
	host, _ := signer(t, 'h')
	n := &pipenet.Network{}
	l, err := n.Listen("jump:22")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go (&peer{host: host, forbid: true}).serve(l)
	la := New(Options{Dial: n.DialContext})
	defer la.Close()
	a := access(t, host)
	a.Via = access(t, host)
	a.Via.Addr = "jump:22"
	if err := la.Reach(t.Context(), a); backends.ClassOf(err) != backends.Config || !strings.Contains(err.Error(), "it forwards no connections (AllowTcpForwarding") {
		t.Errorf("got %v", err)
	}
}

func TestKeysOfAnAgent(t *testing.T) {
	host, _ := signer(t, 'h')
	_, mine := signer(t, 'k')
	socket := filepath.Join(t.TempDir(), "agent")
	t.Setenv("SSH_AUTH_SOCK", "")
	b := newBehind(t, &peer{host: host})
	b.via.Key = nil
	a := b.access(t, host, "m0:22")
	refused := func(want string) {
		t.Helper()
		la := New(Options{Dial: b.dial})
		defer la.Close()
		if err := la.Reach(t.Context(), a); backends.ClassOf(err) != backends.Config || !strings.Contains(err.Error(), "the jump host") || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v; want %s", err, want)
		}
	}
	refused("no ssh-agent runs (SSH_AUTH_SOCK is not set)")
	t.Setenv("SSH_AUTH_SOCK", socket)
	refused("the ssh-agent of SSH_AUTH_SOCK: ")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ring := agent.NewKeyring()
	var served sync.WaitGroup
	served.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() { _ = agent.ServeAgent(ring, c) })
		}
	})
	defer served.Wait() // no login keeps its connection
	defer l.Close()
	refused("the ssh-agent holds none")
	if err := ring.Add(agent.AddedKey{PrivateKey: mine}); err != nil {
		t.Fatal(err)
	}
	la := New(Options{Dial: b.dial})
	defer la.Close()
	if err := la.Reach(t.Context(), a); err != nil {
		t.Error(err)
	}
}
