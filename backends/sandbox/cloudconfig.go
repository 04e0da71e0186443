package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/ssh"
)

// cloudConfig is what the sandbox takes from user data, as cloud-init would.
type cloudConfig struct {
	HostKeys   []ssh.Signer
	Authorized []string // more public keys that may log in
	Ignored    []string // what cloud-init would do and the sandbox does not
}

// readCloudConfig reads user data. Text that is no #cloud-config (a script) is ignored as a
// whole; a #cloud-config that is no YAML or holds a key that is none is an error, for which
// cloud-init would only leave a line in its log.
func readCloudConfig(data []byte) (*cloudConfig, error) {
	c := &cloudConfig{}
	first, _, _ := bytes.Cut(data, []byte("\n"))
	if string(bytes.TrimSpace(first)) != "#cloud-config" {
		c.Ignored = []string{"user data that is no #cloud-config"}
		return c, nil
	}
	var doc map[string]yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("user data: %w", err)
	}
	for key, value := range doc {
		switch key {
		case "ssh_keys":
			var keys map[string]string
			if err := value.Decode(&keys); err != nil {
				return nil, errors.New("user data: ssh_keys: not a map of texts") // the cause could quote a key
			}
			for _, kind := range []string{"ed25519_private", "ecdsa_private", "rsa_private"} {
				if keys[kind] == "" {
					continue
				}
				k, err := ssh.ParsePrivateKey([]byte(keys[kind]))
				if err != nil {
					return nil, fmt.Errorf("user data: ssh_keys: %s: no private key", kind)
				}
				c.HostKeys = append(c.HostKeys, k)
			}
		case "ssh_authorized_keys":
			if err := value.Decode(&c.Authorized); err != nil {
				return nil, fmt.Errorf("user data: %s: %w", key, err)
			}
		case "ssh_deletekeys", "ssh_genkeytypes", "preserve_hostname", "hostname":
		default:
			c.Ignored = append(c.Ignored, key)
		}
	}
	slices.Sort(c.Ignored)
	return c, nil
}
