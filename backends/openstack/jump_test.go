package openstack_test

import (
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/openstack"
	"dlx.dev/dlx/backends/sandbox"
)

const hostKeyLine = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJMy5mXZ5s5Z0h5YJm5m0pQ6eUq0p0m2g8t5m0r0l0aB"

// jumpHost is one on loopback, with the file of a key that it lets in.
func jumpHost(t *testing.T) (j openstack.Jump, host *sandbox.JumpHost) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	key := func(seed string) (ssh.Signer, ed25519.PrivateKey) {
		private := ed25519.NewKeyFromSeed([]byte(strings.Repeat(seed, ed25519.SeedSize)))
		s, err := ssh.NewSignerFromKey(private)
		if err != nil {
			t.Fatal(err)
		}
		return s, private
	}
	its, _ := key("j")
	mine, private := key("m")
	host = sandbox.StartJump(l, its, string(ssh.MarshalAuthorizedKey(mine.PublicKey())), (&net.Dialer{}).DialContext)
	t.Cleanup(host.Close)
	file := func(name string, block *pem.Block, err error) string {
		path := filepath.Join(t.TempDir(), name)
		if err = errors.Join(err, os.WriteFile(path, pem.EncodeToMemory(block), 0o600)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	j = openstack.Jump{Address: l.Addr().String(), User: sandbox.User, HostKey: string(ssh.MarshalAuthorizedKey(its.PublicKey())), Key: file("id", block, err)}
	return j, host
}

func openJump(t *testing.T, j openstack.Jump) (*backends.Backend, error) {
	t.Helper()
	return openWith(t, sandbox.Quota{}, map[string]any{"jump": j})
}

func TestSettingsOfAJumpHost(t *testing.T) {
	for _, c := range []struct {
		name string
		jump openstack.Jump
		want string
	}{
		{"nothing", openstack.Jump{}, "jump.address is missing\njump.user is missing\njump.hostKey is missing"},
		{"no host key", openstack.Jump{Address: "a", User: "u", HostKey: "SHA256:abc"}, `jump.hostKey: no public key such as "ssh-ed25519 AAAA..."`},
	} {
		_, err := openJump(t, c.jump)
		if backends.ClassOf(err) != backends.Config || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v; want %s", c.name, err, c.want)
		}
	}
}

func TestCheckLogsIntoTheJumpHost(t *testing.T) {
	good, host := jumpHost(t)
	nova := []backends.Need{need(1, server)}
	for _, c := range []struct {
		name        string
		change      func(t *testing.T, j *openstack.Jump)
		needs       []backends.Need
		field, want string
	}{
		{"all is well", func(*testing.T, *openstack.Jump) {}, nova, "", ""},
		{"clusters need no login", func(_ *testing.T, j *openstack.Jump) { j.Key = "/nosuch-folder/key" }, []backends.Need{need(1, coe)}, "", ""},
		{"a home folder", func(t *testing.T, j *openstack.Jump) {
			t.Setenv("HOME", filepath.Dir(j.Key))
			j.Key = "~/" + filepath.Base(j.Key)
		}, nova, "", ""},
		{"no file", func(_ *testing.T, j *openstack.Jump) { j.Key = "/nosuch-folder/key" }, nova, "jump.key", "the file cannot be read: no such file or directory"},
		{"no key in it", func(_ *testing.T, j *openstack.Jump) { j.Key = os.Args[0] }, nova, "jump.key", "the file holds no private key"},
		{"a key with a passphrase", func(t *testing.T, j *openstack.Jump) {
			block, err := ssh.MarshalPrivateKeyWithPassphrase(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), "", []byte("secret"))
			j.Key = filepath.Join(t.TempDir(), "locked")
			if err = errors.Join(err, os.WriteFile(j.Key, pem.EncodeToMemory(block), 0o600)); err != nil {
				t.Fatal(err)
			}
		}, nova, "jump.key", "the key has a passphrase: give it to the ssh-agent (ssh-add) and leave jump.key out"},
		{"another host key", func(_ *testing.T, j *openstack.Jump) { j.HostKey = hostKeyLine }, nova, "jump", "the jump host shows the host key"},
		{"another user", func(_ *testing.T, j *openstack.Jump) { j.User = "nosuch" }, nova, "jump", "log into the jump host nosuch@127.0.0.1:"},
		{"nobody there", func(_ *testing.T, j *openstack.Jump) { j.Address = "127.0.0.1:1" }, nova, "jump", "log into the jump host sandbox@127.0.0.1:1: dial tcp 127.0.0.1:1: "},
		{"no agent", func(t *testing.T, j *openstack.Jump) {
			t.Setenv("SSH_AUTH_SOCK", "")
			j.Key = ""
		}, nova, "jump", "no key is named and no ssh-agent runs"},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := good
			c.change(t, &j)
			b, err := openJump(t, j)
			if err != nil {
				t.Fatal(err)
			}
			found, err := b.Provider.(backends.Checker).Check(t.Context(), "", c.needs)
			switch {
			case err != nil:
				t.Error(err)
			case c.want == "" && len(found) > 0:
				t.Errorf("got %v; want nothing", found)
			case c.want != "" && (len(found) != 1 || found[0].Need != -1 || found[0].Field != c.field || !strings.Contains(found[0].Msg, c.want)):
				t.Errorf("got %+v; want %s: %s", found, c.field, c.want)
			case c.want != "" && j.Key != "" && strings.Contains(found[0].Msg, j.Key):
				t.Errorf("%s names the key's path", found[0].Msg)
			}
			if c.field == "jump.key" { // what needs no login goes on
				r := backends.FleetRequest{Owner: backends.Owner{Run: "r", Fleet: "f"}, Machines: nova[0].Machines}
				if _, err := b.Provision(t.Context(), r); backends.ClassOf(err) != backends.Config || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v; want %s", err, c.want)
				}
				if err := b.Release(t.Context(), backends.Owner{Run: "r"}, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	if host.Logins() == 0 {
		t.Error("nobody logged into the jump host")
	}
}
