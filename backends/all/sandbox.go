package all

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/openstack"
	"dlx.dev/dlx/backends/sandbox"
)

// sandboxConfig is the settings of a cloud of kind sandbox.
type sandboxConfig struct {
	Hosts       int `json:"hosts"`
	CPUsPerHost int `json:"cpusPerHost"`
	GPUsPerHost int `json:"gpusPerHost"`
}

// What is slow in a cloud is quick here: a server is up after a moment, and noticed at once.
const (
	sandboxBuild   = 100 * time.Millisecond
	sandboxPollMin = 20 * time.Millisecond
	sandboxPollMax = 250 * time.Millisecond
)

// SandboxConfig says what the sandbox of a cloud is like, out of the settings o.Config.
func SandboxConfig(o backends.Options) (sandbox.Config, error) {
	op := "cloud " + o.Cloud
	var c sandboxConfig
	if len(o.Config) > 0 {
		dec := json.NewDecoder(bytes.NewReader(o.Config))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&c); err != nil {
			return sandbox.Config{}, backends.Errorf(backends.Config, op, "%w", err)
		}
	}
	if c.Hosts < 0 || c.CPUsPerHost < 0 || c.GPUsPerHost < 0 {
		return sandbox.Config{}, backends.Errorf(backends.Config, op, "hosts, cpusPerHost and gpusPerHost may not be negative")
	}
	return sandbox.Config{State: o.State, Hosts: c.Hosts, CPUsPerHost: c.CPUsPerHost, Kube: sandbox.KubeConfig{GPUs: c.GPUsPerHost}, BuildTime: sandboxBuild, Log: o.Log}, nil
}

// openSandbox starts the embedded cloud on loopback, with its state in o.State, and opens it as
// any other OpenStack.
func openSandbox(ctx context.Context, o backends.Options) (*backends.Backend, error) {
	c, err := SandboxConfig(o)
	if err != nil {
		return nil, err
	}
	s, err := sandbox.Start(ctx, c)
	if err != nil {
		return nil, &backends.Error{Class: backends.Internal, Op: "cloud " + o.Cloud, Err: err}
	}
	user, password, _, _ := s.Credentials()
	b, err := openstack.New(ctx, openstack.Params{
		Auth:     gophercloud.AuthOptions{IdentityEndpoint: s.URL(), Username: user, Password: password, DomainID: "default", TenantName: "sandbox"},
		Endpoint: gophercloud.EndpointOpts{Region: sandbox.Region},
		Secret:   o.Secret, SSHPort: s.Port(), PollMin: sandboxPollMin, PollMax: sandboxPollMax, Log: o.Log,
	})
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	withPods(b, o)
	closeCloud := b.Close
	b.Close = func(ctx context.Context) error { return errors.Join(closeCloud(ctx), s.Close()) }
	return b, nil
}
