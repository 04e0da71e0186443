package openstack

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"

	"dlx.dev/dlx/backends"
)

// A Jump is the host over which machines are logged into that have no address to be reached at.
type Jump struct {
	Address string `json:"address"` // host, or host:port
	User    string `json:"user"`
	HostKey string `json:"hostKey"` // as in authorized_keys; another is refused
	Key     string `json:"key"`     // path of a private key; empty: what the running ssh-agent holds
}

func (j *Jump) check() error {
	if j == nil {
		return nil
	}
	var errs []error
	for _, f := range []struct{ name, value string }{{"address", j.Address}, {"user", j.User}, {"hostKey", j.HostKey}} {
		if f.value == "" {
			errs = append(errs, fmt.Errorf("jump.%s is missing", f.name))
		}
	}
	if _, _, _, _, err := ssh.ParseAuthorizedKey([]byte(j.HostKey)); err != nil && j.HostKey != "" {
		errs = append(errs, errors.New(`jump.hostKey: no public key such as "ssh-ed25519 AAAA..."`))
	}
	return errors.Join(errs...)
}

// access is how to log into the jump host; nil if there is none. No error names the key's path, or
// anything of the key.
func (j *Jump) access() (*backends.SSH, error) {
	if j == nil {
		return nil, nil
	}
	a := &backends.SSH{Addr: j.Address, User: j.User, HostKey: []byte(j.HostKey)}
	if _, _, err := net.SplitHostPort(j.Address); err != nil {
		a.Addr = net.JoinHostPort(strings.Trim(j.Address, "[]"), "22")
	}
	if j.Key == "" {
		return a, nil
	}
	path := j.Key
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, fmt.Errorf("jump.key: %w", err)
		}
		path = filepath.Join(home, rest)
	}
	var err error
	var why *fs.PathError
	if a.Key, err = os.ReadFile(path); errors.As(err, &why) {
		return nil, fmt.Errorf("jump.key: the file cannot be read: %w", why.Err)
	} else if err != nil {
		return nil, errors.New("jump.key: the file cannot be read")
	}
	var locked *ssh.PassphraseMissingError
	switch _, err = ssh.ParsePrivateKey(a.Key); {
	case errors.As(err, &locked):
		return nil, errors.New("jump.key: the key has a passphrase: give it to the ssh-agent (ssh-add) and leave jump.key out")
	case err != nil:
		return nil, errors.New("jump.key: the file holds no private key")
	}
	return a, nil
}
