package sandbox

import (
	"crypto/ed25519"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func hostPEM(t testing.TB) string {
	t.Helper()
	b, err := ssh.MarshalPrivateKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), "")
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(b))
}

func TestReadCloudConfig(t *testing.T) {
	key := hostPEM(t)
	asJSON, err := json.Marshal(map[string]any{"ssh_keys": map[string]string{"ed25519_private": key}, "ssh_authorized_keys": []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	asYAML := "ssh_keys:\n  ed25519_private: |\n    " + strings.ReplaceAll(strings.TrimSpace(key), "\n", "\n    ") + "\nssh_authorized_keys: [a]\n"
	for name, text := range map[string]string{"JSON": string(asJSON), "YAML": asYAML} {
		c, err := readCloudConfig([]byte("#cloud-config\n" + text))
		if err != nil || len(c.HostKeys) != 1 || c.HostKeys[0].PublicKey().Type() != ssh.KeyAlgoED25519 || len(c.Authorized) != 1 || c.Ignored != nil {
			t.Errorf("%s: got %+v, %v", name, c, err)
		}
	}
	c, err := readCloudConfig([]byte("#!/bin/sh\necho hello\n"))
	if err != nil || len(c.Ignored) != 1 {
		t.Errorf("a script: got %+v, %v", c, err)
	}
	c, err = readCloudConfig([]byte("#cloud-config\nruncmd: [ls]\npackages: [vim]\n"))
	if err != nil || strings.Join(c.Ignored, " ") != "packages runcmd" {
		t.Errorf("more: got %+v, %v", c, err)
	}
	for _, bad := range []string{"#cloud-config\n- a\n", "#cloud-config\nssh_keys: x\n", "#cloud-config\nssh_keys: {ed25519_private: S3CRET}\n", "#cloud-config\nssh_authorized_keys: {}\n", "#cloud-config\n\t"} {
		if _, err := readCloudConfig([]byte(bad)); err == nil || strings.Contains(err.Error(), "S3CRET") {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}

// Whatever a client sends as user data, the sandbox reads it or refuses it.
func FuzzReadCloudConfig(f *testing.F) {
	f.Add([]byte("#cloud-config\nssh_keys: {ed25519_private: x}\n"))
	f.Add([]byte("#cloud-config\n{\"ssh_authorized_keys\": [\"a\"], \"runcmd\": [[\"ls\"]]}\n"))
	f.Add([]byte("#!/bin/sh\n"))
	f.Add([]byte("#cloud-config\na: &x [*x]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := readCloudConfig(data)
		if (c == nil) == (err == nil) {
			t.Errorf("got %v and %v", c, err)
		}
	})
}
