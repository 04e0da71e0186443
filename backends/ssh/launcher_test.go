package ssh

import (
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/pipenet"
)

// peer is an SSH server that does what a test wants.
type peer struct {
	host   ssh.Signer
	refuse bool // logins
	silent bool // answers no request after the login
	forbid bool // as a jump host: forwards nothing
}

func signer(t *testing.T, seed byte) (ssh.Signer, ed25519.PrivateKey) {
	t.Helper()
	key := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(seed)), ed25519.SeedSize)))
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return s, key
}

func (p *peer) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			cfg := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
				if p.refuse {
					return nil, errors.New("no")
				}
				return &ssh.Permissions{}, nil
			}}
			cfg.AddHostKey(p.host)
			sc, chans, reqs, err := ssh.NewServerConn(c, cfg)
			if err != nil {
				return
			}
			go func() {
				for r := range reqs {
					if r.WantReply && !p.silent {
						_ = r.Reply(false, nil)
					}
				}
			}()
			for n := range chans {
				reason := ssh.ResourceShortage
				if p.forbid {
					reason = ssh.Prohibited
				}
				_ = n.Reject(reason, "none of these here")
			}
			_ = sc.Wait()
		}()
	}
}

// machine is where a peer is, in a network of its own.
func access(t *testing.T, host ssh.Signer) *backends.SSH {
	t.Helper()
	_, key := signer(t, 'k')
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	return &backends.SSH{Addr: "m:22", User: "u", Key: pem.EncodeToMemory(block), HostKey: ssh.MarshalAuthorizedKey(host.PublicKey())}
}

func TestReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &pipenet.Network{}
		l, err := n.Listen("m:22")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		host, _ := signer(t, 'h')
		other, _ := signer(t, 'o')
		p := &peer{host: host}
		go p.serve(l)
		la := New(Options{Dial: n.DialContext})
		defer la.Close()
		if err := la.Reach(t.Context(), access(t, host)); err != nil {
			t.Errorf("the right key: %v", err)
		}
		if err := la.Reach(t.Context(), access(t, other)); backends.ClassOf(err) != backends.Config || !strings.Contains(err.Error(), "host key") || errors.Is(err, ErrLogin) {
			t.Errorf("another key: got %v", err)
		}
		nowhere := access(t, host)
		nowhere.Addr = "nowhere:22"
		if err := la.Reach(t.Context(), nowhere); err == nil || backends.ClassOf(err) != backends.Infra {
			t.Errorf("nobody there: got %v", err)
		}
		p.refuse = true
		fresh := New(Options{Dial: n.DialContext})
		defer fresh.Close()
		if err := fresh.Reach(t.Context(), access(t, host)); !errors.Is(err, ErrLogin) || backends.ClassOf(err) != backends.Config {
			t.Errorf("a refused login: got %v", err)
		}
	})
}

func TestPatienceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, _ := signer(t, 'h')
		n := &pipenet.Network{}
		la := New(Options{Dial: n.DialContext, Patience: 3 * time.Minute})
		defer la.Close()
		m := backends.Machine{Name: "m", Access: backends.Access{SSH: access(t, host)}}
		began := time.Now()
		_, err := la.Wait(t.Context(), m, "p")
		if d := time.Since(began); backends.ClassOf(err) != backends.Transport || d < 3*time.Minute || d > 4*time.Minute {
			t.Errorf("got %v after %v", err, d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := la.Wait(ctx, m, "p"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a deadline: got %v", err)
		}
	})
}

func TestSilentConnectionsAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &pipenet.Network{}
		l, err := n.Listen("m:22")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		host, _ := signer(t, 'h')
		go (&peer{host: host, silent: true}).serve(l)
		la := New(Options{Dial: n.DialContext, Keepalive: 10 * time.Second})
		defer la.Close()
		m, err := la.machine(backends.Machine{Access: backends.Access{SSH: access(t, host)}})
		if err != nil {
			t.Fatal(err)
		}
		c, err := m.acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		<-c.dead
		if d := time.Since(began); d != 30*time.Second {
			t.Errorf("closed after %v; want one pause and two misses", d)
		}
		c.release()
	})
}

func TestClosedLauncherRefuses(t *testing.T) {
	host, _ := signer(t, 'h')
	la := New(Options{})
	la.Close()
	m := backends.Machine{Name: "m", Access: backends.Access{SSH: access(t, host)}}
	if err := la.Start(t.Context(), backends.Single(m, backends.Process{ID: "p", Args: []string{"true"}})); err == nil {
		t.Error("a closed launcher started something")
	}
	if err := New(Options{}).Start(t.Context(), backends.Single(backends.Machine{Name: "m"}, backends.Process{ID: "p", Args: []string{"true"}})); backends.ClassOf(err) != backends.Internal {
		t.Errorf("no access: got %v", err)
	}
}

func TestKeysThatCannotBeRead(t *testing.T) {
	host, _ := signer(t, 'h')
	a := access(t, host)
	a.Key = []byte("-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----\n")
	err := New(Options{}).Reach(t.Context(), a)
	if backends.ClassOf(err) != backends.Internal || strings.Contains(err.Error(), "c2VjcmV0") {
		t.Errorf("got %v", err)
	}
	a = access(t, host)
	a.HostKey = []byte("nonsense")
	if err := New(Options{}).Reach(t.Context(), a); backends.ClassOf(err) != backends.Internal {
		t.Errorf("got %v", err)
	}
}

func TestAlgorithms(t *testing.T) {
	if got := algorithms(ssh.KeyAlgoRSA); len(got) != 2 || got[0] != ssh.KeyAlgoRSASHA512 {
		t.Errorf("rsa: got %v", got)
	}
	if got := algorithms(ssh.KeyAlgoED25519); len(got) != 1 || got[0] != ssh.KeyAlgoED25519 {
		t.Errorf("ed25519: got %v", got)
	}
}
