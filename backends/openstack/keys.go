package openstack

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/json"
	"encoding/pem"
	"fmt"

	"golang.org/x/crypto/ssh"
)

// A key is an ed25519 key derived from the run's secret: the same after a restart.
type key struct {
	pem    []byte // OpenSSH private key
	public []byte // authorized_keys form, one line without its end
}

// derive makes the key for a purpose. Different purposes have unrelated keys.
func derive(secret []byte, purpose string) (*key, error) {
	if len(secret) < 16 {
		return nil, fmt.Errorf("the run's secret has %d bytes, not 16 or more", len(secret))
	}
	seed, err := hkdf.Key(sha256.New, secret, nil, "dlx ssh "+purpose, ed25519.SeedSize)
	if err != nil {
		return nil, err
	}
	private := ed25519.NewKeyFromSeed(seed)
	block, err := ssh.MarshalPrivateKey(private, "dlx")
	if err != nil {
		return nil, err
	}
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		return nil, err
	}
	return &key{pem: pem.EncodeToMemory(block), public: bytes.TrimSpace(ssh.MarshalAuthorizedKey(public))}, nil
}

// loginKey is what dlx logs in with, on all machines of a run.
func loginKey(secret []byte, run string) (*key, error) { return derive(secret, "login "+run) }

// hostKey is what a machine proves itself with.
func hostKey(secret []byte, machine string) (*key, error) { return derive(secret, "host "+machine) }

// userData gives cloud-init the host key, so that it is known before the machine first boots.
// The body is JSON, which YAML holds.
func userData(host, login *key) ([]byte, error) {
	body, err := json.Marshal(map[string]any{
		"ssh_deletekeys":      true, // those of the image
		"ssh_genkeytypes":     []string{},
		"ssh_keys":            map[string]string{"ed25519_private": string(host.pem), "ed25519_public": string(host.public)},
		"ssh_authorized_keys": []string{string(login.public)},
	})
	return append([]byte("#cloud-config\n"), append(body, '\n')...), err
}
