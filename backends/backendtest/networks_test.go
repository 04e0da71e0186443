package backendtest_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"dlx.dev/dlx/backends/backendtest"
	"dlx.dev/dlx/backends/openstack"
	"dlx.dev/dlx/backends/sandbox"
)

// A cloud whose machines have no address to be reached at but from its jump host.
func TestNovaBehindAJumpHost(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, backendtest.World{Name: "nova/jump", Virtual: true, New: jumpBed})
}

func jumpBed(t *testing.T) *backendtest.Bed {
	w := virtualWorld(t, server, 4)
	l, err := w.net.Listen("jump:22")
	if err != nil {
		t.Fatal(err)
	}
	host, _ := sshKey(t, 'j')
	mine, key := sshKey(t, 'm')
	jump := sandbox.StartJump(l, host, string(ssh.MarshalAuthorizedKey(mine.PublicKey())), w.net.DialContext)
	file := filepath.Join(t.TempDir(), "id_ed25519")
	if err := os.WriteFile(file, key, 0o600); err != nil {
		t.Fatal(err)
	}
	w.more = func(p *openstack.Params) {
		p.Jump = &openstack.Jump{Address: "jump", User: sandbox.User, HostKey: string(ssh.MarshalAuthorizedKey(host.PublicKey())), Key: file}
		p.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr != "jump:22" {
				return nil, errors.New("no route to host")
			}
			return w.net.DialContext(ctx, network, addr)
		}
	}
	b := w.bed()
	t.Cleanup(jump.Close) // before the machines behind it
	b.Drop = jump.Drop
	b.Left = func() []string { // the jump host listens still
		var out []string
		for _, l := range w.left() {
			if l != "listener jump:22" {
				out = append(out, l)
			}
		}
		return out
	}
	return b
}

// Networks of the sandbox: machines at fixed addresses cannot be reached, as behind a router.
func TestNetworksSandbox(t *testing.T) {
	t.Parallel()
	runNetworks(t, true, func(t *testing.T) *netBed {
		own := with(t, json.RawMessage(server), "network", "")
		w := virtualWorld(t, string(own), 4)
		w.cfg.Latency, w.cfg.Floating = time.Second, 3
		b := &netBed{at: newBetween(&http.Transport{DialContext: w.net.DialContext, MaxIdleConnsPerHost: 64}), floats: with(t, own, "floatingPool", sandbox.External)}
		w.via = b.at
		w.more = func(p *openstack.Params) {
			p.RunNetwork = &openstack.RunNetwork{CIDR: "10.250.0.0/24", External: sandbox.External, DNS: []string{"192.0.2.53"}}
			p.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				if floats := strings.HasPrefix(addr, "127.78."); !floats && b.behind {
					return nil, errors.New("no route to host")
				}
				return w.net.DialContext(ctx, network, addr)
			}
		}
		b.Bed = w.bed()
		b.quota = func(name string, more int) {
			q := w.cfg.Quota
			q.Instances, q.Cores, q.RAM = 64, 512, 512<<10
			q.Neutron = map[string]int{name: more}
			w.cloud.SetQuota(q)
		}
		b.dry = func() json.RawMessage {
			r := b.request("other", 2, b.floats)
			if _, err := b.Backend.Provision(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			return b.floats
		}
		return b
	})
}

// sshKey is a key that is the same each time, and its file.
func sshKey(t *testing.T, seed byte) (ssh.Signer, []byte) {
	t.Helper()
	private := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(seed)), ed25519.SeedSize)))
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	return s, pem.EncodeToMemory(block)
}
