package backendtest_test

import (
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
