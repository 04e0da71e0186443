package backendtest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	gopherstack "github.com/gophercloud/gophercloud/v2/openstack"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/backendtest"
	"dlx.dev/dlx/backends/memory"
	"dlx.dev/dlx/backends/openstack"
	"dlx.dev/dlx/backends/pipenet"
	"dlx.dev/dlx/backends/sandbox"
)

const (
	server = `{"flavor": "sandbox.small", "image": "sandbox", "network": "sandbox", "user": "sandbox"}`
	node   = `{"service": "ironic", "resourceClass": "baremetal", "image": "sandbox", "user": "sandbox"}`
)

var secret = bytes.Repeat([]byte("dlx!"), 8)

func TestMemory(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, backendtest.World{
		Name: "memory", Virtual: true, New: func(*testing.T) *backendtest.Bed { return (&memoryWorld{failing: map[string]string{}}).bed() },
		Without: map[backendtest.Need]string{
			backendtest.LostAnswers: "calls within a program are answered",
			backendtest.Connections: "there is no connection to lose",
			backendtest.Login:       "nobody logs in",
			backendtest.HostKeys:    "nobody logs in",
			backendtest.Secrets:     "nobody logs in",
			backendtest.Strangers:   "whatever is there was made by the backend",
			backendtest.Programs:    "processes are functions of this program",
			backendtest.Peers:       "processes are functions of this program",
			backendtest.Hosts:       "machines stand nowhere",
		},
	})
}

const unknownFlavor = `{"flavor": "nosuch-flavor"}`

// memoryWorld scripts what a cloud does with requests and boots.
type memoryWorld struct {
	mu       sync.Mutex
	failing  map[string]string // by machine: why its next boot fails
	refusals int               // so many of the next requests for a machine are refused
	status   int               // with this
	after    time.Duration     // and this Retry-After; 0: none
}

func (w *memoryWorld) bed() *backendtest.Bed {
	cloud := memory.New(memory.Config{
		Boot: w.boot, Refuse: w.refuse,
		Check: func(m backends.MachineRequest) error {
			if string(m.Spec) == unknownFlavor {
				return backends.Errorf(backends.Config, "machine "+m.Name, "flavor nosuch-flavor: %w", backends.ErrNotFound)
			}
			return nil
		},
		Run: func(ctx context.Context, _ backends.Machine, p backends.Process, stdout, stderr io.Writer) int {
			return backendtest.Play(ctx, p, backendtest.Means{
				Stdout: stdout, Stderr: stderr, Create: func(name string) io.Writer { return memory.Create(ctx, name) }, Killed: memory.Killed(ctx),
			})
		},
	})
	return &backendtest.Bed{
		Backend: cloud.Backend(), Spec: json.RawMessage(`{}`), Program: backendtest.Words,
		Bad:    map[string]json.RawMessage{"nosuch-flavor": json.RawMessage(unknownFlavor)},
		Reopen: cloud.Backend,
		Fail: func(machine, reason string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.failing[machine] = reason
		},
		Quota: cloud.SetQuota,
		Refuse: func(status, after, times int) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.refusals, w.status, w.after = times, status, time.Duration(max(after, 0))*time.Second
		},
		Left: func() []string {
			if n := cloud.Machines(); n > 0 {
				return []string{fmt.Sprint(n, " machines")}
			}
			return nil
		},
	}
}

func (w *memoryWorld) boot(_ backends.Owner, m backends.MachineRequest) (time.Duration, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	why, ok := w.failing[m.Name]
	if !ok {
		return 90 * time.Second, nil
	}
	delete(w.failing, m.Name)
	class := backends.Infra
	if strings.HasPrefix(why, "No valid host") {
		class = backends.Capacity
	}
	return time.Second, backends.Errorf(class, "server "+m.Name, "%s", why)
}

func (w *memoryWorld) refuse(_ backends.Owner, m backends.MachineRequest) (time.Duration, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refusals == 0 {
		return 0, nil
	}
	w.refusals--
	return w.after, backends.Errorf(backends.Infra, "create server "+m.Name, "refused with %d", w.status)
}

// The same client code and the same cloud, once without sockets and with API latencies of 90
// seconds, once over loopback.

func TestNovaVirtual(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, backendtest.World{Name: "nova/virtual", Virtual: true, New: func(t *testing.T) *backendtest.Bed {
		return virtual(t, server, 4)
	}})
}

func TestIronicVirtual(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, backendtest.World{
		Name: "ironic/virtual", Virtual: true, New: func(t *testing.T) *backendtest.Bed { return virtual(t, node, 16) },
		Without: map[backendtest.Need]string{
			backendtest.QuotaLimit: "Ironic knows no quota",
			backendtest.Hosts:      "a machine of Ironic is a host of its own",
		},
	})
}

func TestNovaLoopback(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, backendtest.World{Name: "nova/loopback", New: func(t *testing.T) *backendtest.Bed {
		w := &world{t: t, spec: server, poll: 20 * time.Millisecond}
		w.cfg = sandbox.Config{State: t.TempDir(), Hosts: 4, BuildTime: 50 * time.Millisecond}
		return w.bed()
	}})
}

func virtual(t *testing.T, spec string, hosts int) *backendtest.Bed {
	return virtualWorld(t, spec, hosts).bed()
}

func virtualWorld(t *testing.T, spec string, hosts int) *world {
	w := &world{t: t, spec: spec, net: &pipenet.Network{}, poll: 2 * time.Second}
	w.cfg = sandbox.Config{State: t.TempDir(), Hosts: hosts, BuildTime: 90 * time.Second, DeleteTime: 20 * time.Second, Latency: 90 * time.Second,
		Port: 22, Listen: w.net.Listen, Dial: w.net.DialContext}
	return w
}

// world is a sandbox with a provider over it.
type world struct {
	t    *testing.T
	spec string
	cfg  sandbox.Config
	net  *pipenet.Network // nil: loopback
	poll time.Duration
	via  http.RoundTripper             // to the cloud; nil: directly
	log  func(format string, a ...any) // nil: the test's
	more func(*openstack.Params)       // what the provider gets besides; may be nil

	cloud   *sandbox.Server
	backend *backends.Backend
	secrets []string
}

func (w *world) bed() *backendtest.Bed {
	w.cfg.Faults = &sandbox.Faults{}
	w.open()
	// Not t.Cleanup alone: in a bubble, all goroutines have to end with the test's function,
	// and its cleanups run in the bubble.
	w.t.Cleanup(w.close)
	create := "POST /servers"
	if w.spec == node {
		create = "POST /allocations"
	}
	b := &backendtest.Bed{
		Backend: w.backend, Spec: json.RawMessage(w.spec), Program: backendtest.Shell, Programs: true, Peers: netcat(),
		Bad:    w.bad(),
		Reopen: func() *backends.Backend { w.close(); w.open(); return w.backend },
		Left:   w.left,
		Fail: func(machine, reason string) {
			w.cfg.Faults.Boot("*-"+machine, http.StatusInternalServerError, reason, 1)
		},
		Refuse: func(status, after, times int) {
			var header []string
			if after >= 0 {
				header = []string{"Retry-After", strconv.Itoa(after)}
			}
			w.cfg.Faults.Fail(create, status, `{"overLimit": {"code": 1, "message": "This request was rate-limited. `+strings.Join(w.secrets, " ")+`"}}`, times, header...)
		},
		HangUp:   func() { w.cfg.Faults.HangUp(create, 1) },
		Drop:     func() { w.cloud.DropConnections() },
		Revoke:   func() { w.cloud.Revoke() },
		Stranger: func(run string) func() { return stranger(w.t, w.nova(), run) },
		Secrets:  w.secrets,
	}
	if w.spec == server {
		b.Hosts = w.cfg.Hosts
		b.Quota = func(n int) { w.cloud.SetQuota(sandbox.Quota{Instances: n, Cores: 512, RAM: 512 << 10}) }
	}
	return b
}

func (w *world) bad() map[string]json.RawMessage {
	out := map[string]json.RawMessage{
		"nosuch-image": json.RawMessage(strings.Replace(w.spec, `"image": "sandbox"`, `"image": "nosuch-image"`, 1)),
		"nosuch-field": json.RawMessage(strings.Replace(w.spec, `{`, `{"nosuch-field": 1, `, 1)),
	}
	if w.spec == server {
		out["nosuch-flavor"] = json.RawMessage(strings.Replace(w.spec, "sandbox.small", "nosuch-flavor", 1))
		out["nosuch-zone"] = json.RawMessage(strings.Replace(w.spec, `{`, `{"zone": "nosuch-zone", `, 1))
		out["nosuch-network"] = json.RawMessage(strings.Replace(w.spec, `"network": "sandbox"`, `"network": "nosuch-network"`, 1))
	}
	return out
}

func (w *world) open() {
	w.t.Helper()
	cfg := w.cfg
	dial := (&net.Dialer{}).DialContext
	if w.net != nil {
		var err error
		if cfg.Listener, err = w.net.Listen("api:80"); err != nil {
			w.t.Fatal(err)
		}
		dial = w.net.DialContext
	}
	s, err := sandbox.Start(w.t.Context(), cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	user, password, _, _ := s.Credentials()
	via, log := w.via, w.log
	if via == nil {
		via = &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 64}
	}
	if log == nil {
		log = w.t.Logf
	}
	params := openstack.Params{
		Auth:     gophercloud.AuthOptions{IdentityEndpoint: s.URL(), Username: user, Password: password, DomainID: "default", TenantName: "sandbox"},
		Endpoint: gophercloud.EndpointOpts{Region: sandbox.Region},
		HTTP:     via,
		Dial:     dial, Secret: secret, SSHPort: s.Port(), PollMin: w.poll, PollMax: 5 * w.poll, Log: log,
	}
	if w.more != nil {
		w.more(&params)
	}
	b, err := openstack.New(w.t.Context(), params)
	if err != nil {
		w.t.Fatal(errors.Join(err, s.Close()))
	}
	w.cloud, w.backend, w.secrets = s, b, []string{password, string(secret)}
}

func (w *world) close() {
	if w.cloud == nil {
		return
	}
	if err := errors.Join(w.backend.Close(context.WithoutCancel(w.t.Context())), w.cloud.Close()); err != nil {
		w.t.Error(err)
	}
	w.cloud = nil
}

// left lists processes, listeners and files.
func (w *world) left() []string {
	var out []string
	if w.net != nil {
		time.Sleep(time.Hour) // cleaning takes its time
		for _, a := range w.net.Listening() {
			if a != "api:80" {
				out = append(out, "listener "+a)
			}
		}
	}
	for _, p := range w.cloud.Processes() {
		out = append(out, fmt.Sprint("process ", p))
	}
	for _, g := range w.cloud.Groups() {
		out = append(out, "control group "+g)
	}
	files, err := os.ReadDir(w.cfg.State)
	if err != nil {
		w.t.Error(err)
	}
	for _, f := range files {
		out = append(out, "file "+f.Name())
	}
	return out
}

// nova is a way to Nova besides the provider's.
func (w *world) nova() *gophercloud.ServiceClient {
	w.t.Helper()
	user, password, _, _ := w.cloud.Credentials()
	transport := &http.Transport{DisableKeepAlives: true} // no connection outlives a bubble
	if w.net != nil {
		transport.DialContext = w.net.DialContext
	}
	client, err := gopherstack.NewClient(w.cloud.URL())
	if err != nil {
		w.t.Fatal(err)
	}
	client.HTTPClient = http.Client{Transport: transport}
	if err := gopherstack.Authenticate(w.t.Context(), client, gophercloud.AuthOptions{IdentityEndpoint: w.cloud.URL(), Username: user, Password: password, DomainID: "default", TenantName: "sandbox"}); err != nil {
		w.t.Fatal(err)
	}
	compute, err := gopherstack.NewComputeV2(client, gophercloud.EndpointOpts{Region: sandbox.Region})
	if err != nil {
		w.t.Fatal(err)
	}
	return compute
}

// stranger makes a keypair and a server group with the names of a run's.
func stranger(t *testing.T, nova *gophercloud.ServiceClient, run string) (remove func()) {
	t.Helper()
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJMy5mXZ5s5Z0h5YJm5m0pQ6eUq0p0m2g8t5m0r0l0aB somebody@else"
	var group struct {
		Group struct {
			ID string `json:"id"`
		} `json:"server_group"`
	}
	askNova(t, nova, http.MethodPost, nova.ServiceURL("os-keypairs"), map[string]any{"keypair": map[string]any{"name": "dlx-" + run, "public_key": key}}, nil)
	askNova(t, nova, http.MethodPost, nova.ServiceURL("os-server-groups"), map[string]any{"server_group": map[string]any{"name": "dlx." + run + ".f", "policies": []string{"affinity"}}}, &group)
	return func() {
		askNova(t, nova, http.MethodDelete, nova.ServiceURL("os-keypairs", "dlx-"+run), nil, nil)
		askNova(t, nova, http.MethodDelete, nova.ServiceURL("os-server-groups", group.Group.ID), nil, nil)
	}
}
