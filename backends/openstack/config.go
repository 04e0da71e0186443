package openstack

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/ssh"
)

// Config is the settings of a cloud in a testbed.
type Config struct {
	Cloud  string `json:"cloud"`  // name in clouds.yaml; empty: OS_CLOUD, else the other OS_* variables
	Region string `json:"region"` // empty: the cloud's own
	Jump   *Jump  `json:"jump"`   // nil: machines are reached directly

	RunNetwork *RunNetwork `json:"runNetwork"` // nil: servers that name no network are where Nova puts them
}

// A Spec is what a machine request asks of OpenStack.
type Spec struct {
	Service       string `json:"service"` // "nova" (also when empty), "ironic" or "magnum"
	Flavor        string `json:"flavor"`
	Image         string `json:"image"`
	Network       string `json:"network"`      // empty: the run's own, or Nova picks ("auto")
	FloatingPool  string `json:"floatingPool"` // external network that a floating IP is from, over which dlx logs in; empty: none
	User          string `json:"user"`         // the login that the image's cloud-init lets the keypair into
	SSHPort       int    `json:"sshPort"`      // 0: the cloud's usual one
	Zone          string `json:"zone"`
	ResourceClass string `json:"resourceClass"` // ironic: instead of a flavor

	// Of magnum: a node of a cluster that the fleet has to itself.
	Template     string            `json:"clusterTemplate"`
	MasterFlavor string            `json:"masterFlavor"`  // empty, as Flavor: the template's
	Masters      int               `json:"masters"`       // 0: 1
	Labels       map[string]string `json:"labels"`        // over the template's
	Pod          json.RawMessage   `json:"pod,omitempty"` // what runs on the node: the kubernetes backend's own
}

// parseConfig reads the settings of a cloud; unknown fields are refused.
func parseConfig(raw json.RawMessage) (Config, error) {
	var c Config
	if len(raw) == 0 {
		return c, nil
	}
	if err := strict(raw, &c); err != nil {
		return c, err
	}
	return c, errors.Join(c.Jump.check(), c.RunNetwork.check())
}

// parseSpec reads and checks a machine's spec; unknown fields are refused.
func parseSpec(raw json.RawMessage) (Spec, error) {
	var s Spec
	if err := strict(raw, &s); err != nil {
		return s, err
	}
	if s.Service == "" {
		s.Service = "nova"
	}
	need := func(field, value string) error {
		if value == "" {
			return fmt.Errorf("%s is missing", field)
		}
		return nil
	}
	unused := func(field, value string) error {
		if value != "" {
			return fmt.Errorf("%s: not used by the service %s", field, s.Service)
		}
		return nil
	}
	var errs []error
	if s.Service != "magnum" && (s.Masters != 0 || len(s.Labels) > 0 || len(s.Pod) > 0) {
		errs = append(errs, fmt.Errorf("masters, labels, pod: not used by the service %s", s.Service))
	}
	if s.Service != "magnum" {
		errs = append(errs, unused("clusterTemplate", s.Template), unused("masterFlavor", s.MasterFlavor))
	}
	switch s.Service {
	case "magnum":
		errs = append(errs, need("clusterTemplate", s.Template), need("pod", string(s.Pod)), unused("resourceClass", s.ResourceClass),
			unused("image", s.Image), unused("network", s.Network), unused("user", s.User), unused("zone", s.Zone), unused("floatingPool", s.FloatingPool))
		if s.Masters < 0 {
			errs = append(errs, fmt.Errorf("masters: %d is negative", s.Masters))
		}
		return s, errors.Join(errs...)
	case "nova":
		errs = append(errs, need("flavor", s.Flavor), unused("resourceClass", s.ResourceClass))
	case "ironic":
		errs = append(errs, need("resourceClass", s.ResourceClass), unused("flavor", s.Flavor), unused("network", s.Network), unused("zone", s.Zone), unused("floatingPool", s.FloatingPool))
	default:
		return s, fmt.Errorf("service: unknown %q (known: ironic, magnum, nova)", s.Service)
	}
	errs = append(errs, need("image", s.Image), need("user", s.User))
	if s.SSHPort < 0 || s.SSHPort > 65535 {
		errs = append(errs, fmt.Errorf("sshPort: %d is no port", s.SSHPort))
	}
	return s, errors.Join(errs...)
}

func strict(raw json.RawMessage, into any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}

// Params are what a provider is made of, once it is known where the cloud is.
type Params struct {
	Auth     gophercloud.AuthOptions // AllowReauth is set by New
	Endpoint gophercloud.EndpointOpts
	HTTP     http.RoundTripper // nil: one of its own
	TLS      *tls.Config       // of its own one; nil: the system's certificates

	// Dial reaches machines; nil: the network.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	Jump *Jump // in front of all machines; nil: none

	RunNetwork *RunNetwork // for servers that name no network; nil: Nova picks

	Secret  []byte // of the run, at least 16 bytes
	SSHPort int    // for specs that name none; 0: 22

	// Poll is the pause between two looks at the cloud: it begins at Min, also whenever
	// something changes, and grows to Max. Zero: 2 s to 15 s.
	PollMin, PollMax time.Duration

	Boot  time.Duration // how long a server may stay in BUILD, 0: 30 min (bare metal takes 10)
	Reach time.Duration // from ACTIVE to the first login, 0: 10 min (cloud-init of large images takes minutes)

	Launcher ssh.Options // Dial and Log are set by New
	Log      func(format string, args ...any)
}

// Factory opens clouds of kind "openstack".
func Factory() backends.Factory {
	return backends.Factory{Kind: "openstack", Open: Open}
}

// Open logs into the cloud that the settings name. Credentials come from clouds.yaml or the
// OS_* variables, never from the settings.
func Open(ctx context.Context, o backends.Options) (*backends.Backend, error) {
	op := "cloud " + o.Cloud
	c, err := parseConfig(o.Config)
	if err != nil {
		return nil, backends.Errorf(backends.Config, op, "%w", err)
	}
	p, err := credentials(c)
	if err != nil {
		return nil, backends.Errorf(backends.Config, op, "%w", err)
	}
	p.Jump, p.RunNetwork, p.Secret, p.Log = c.Jump, c.RunNetwork, o.Secret, o.Log
	return New(ctx, p)
}

// quoted matches what a YAML error quotes from the file, which may be a password.
var quoted = regexp.MustCompile("`[^`]*`")

// credentials finds where the cloud is and how to log in.
func credentials(c Config) (Params, error) {
	name := c.Cloud
	if name == "" {
		name = os.Getenv("OS_CLOUD")
	}
	if name != "" {
		opts := []clouds.ParseOption{clouds.WithCloudName(name)}
		if c.Region != "" {
			opts = append(opts, clouds.WithRegion(c.Region))
		}
		ao, eo, tc, err := parseClouds(opts)
		if err != nil {
			return Params{}, fmt.Errorf("clouds.yaml: cloud %q: %s", name, quoted.ReplaceAllString(err.Error(), "`...`"))
		}
		return Params{Auth: ao, Endpoint: eo, TLS: tc}, nil
	}
	return environment(c.Region)
}

// parseClouds reads a clouds.yaml. The SDK takes it for granted that a cloud has the key auth.
func parseClouds(opts []clouds.ParseOption) (ao gophercloud.AuthOptions, eo gophercloud.EndpointOpts, tc *tls.Config, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("auth is missing; write auth: {auth_url: ..., username: ..., password: ...} or another way to log in")
		}
	}()
	return clouds.Parse(opts...)
}

// environment reads the OS_* variables, by giving them the form of a clouds.yaml: the SDK's own way knows
// neither domains of users and projects nor certificates, which the openrc files of real clouds set.
func environment(region string) (Params, error) {
	first := func(names ...string) string {
		for _, n := range names {
			if v := os.Getenv(n); v != "" {
				return v
			}
		}
		return ""
	}
	auth := map[string]string{
		"auth_url": first("OS_AUTH_URL"), "token": first("OS_TOKEN"), "username": first("OS_USERNAME"), "user_id": first("OS_USER_ID", "OS_USERID"),
		"password": first("OS_PASSWORD"), "project_id": first("OS_PROJECT_ID", "OS_TENANT_ID"), "project_name": first("OS_PROJECT_NAME", "OS_TENANT_NAME"),
		"application_credential_id": first("OS_APPLICATION_CREDENTIAL_ID"), "application_credential_name": first("OS_APPLICATION_CREDENTIAL_NAME"),
		"application_credential_secret": first("OS_APPLICATION_CREDENTIAL_SECRET"), "system_scope": first("OS_SYSTEM_SCOPE"), "trust_id": first("OS_TRUST_ID"),
	}
	for _, whose := range []string{"", "user_", "project_"} { // of a domain, Keystone takes the ID or the name
		name := whose + "domain_id"
		if auth[name] = first("OS_" + strings.ToUpper(name)); auth[name] == "" {
			name = whose + "domain_name"
			auth[name] = first("OS_" + strings.ToUpper(name))
		}
	}
	passcode := first("OS_PASSCODE")
	switch {
	case auth["auth_url"] == "":
		return Params{}, errors.New("no cloud is named, and OS_AUTH_URL is not set")
	case auth["password"]+auth["token"]+auth["application_credential_secret"]+passcode == "":
		return Params{}, errors.New("no cloud is named, and none of OS_PASSWORD, OS_APPLICATION_CREDENTIAL_SECRET and OS_TOKEN is set")
	}
	cloud := map[string]any{"auth": auth, "region_name": first("OS_REGION_NAME"), "cacert": first("OS_CACERT"), "cert": first("OS_CERT"), "key": first("OS_KEY")}
	switch i := strings.TrimSuffix(first("OS_INTERFACE", "OS_ENDPOINT_TYPE"), "URL"); i {
	case "", "public", "internal", "admin":
		cloud["interface"] = i
	default:
		return Params{}, fmt.Errorf("OS_INTERFACE: unknown %q (known: admin, internal, public)", i)
	}
	if text := first("OS_INSECURE"); text != "" {
		insecure, err := strconv.ParseBool(text)
		if err != nil {
			return Params{}, fmt.Errorf("OS_INSECURE: %q is neither true nor false", text)
		}
		cloud["verify"] = !insecure
	}
	yaml, err := json.Marshal(map[string]any{"clouds": map[string]any{"environment": cloud}})
	if err != nil {
		return Params{}, err
	}
	opts := []clouds.ParseOption{clouds.WithCloudName("environment"), clouds.WithCloudsYAML(bytes.NewReader(yaml))}
	if region != "" {
		opts = append(opts, clouds.WithRegion(region))
	}
	ao, eo, tc, err := parseClouds(opts)
	if err != nil {
		return Params{}, fmt.Errorf("the OS_* variables: %s", quoted.ReplaceAllString(err.Error(), "`...`"))
	}
	ao.Passcode = passcode
	return Params{Auth: ao, Endpoint: eo, TLS: tc}, nil
}
