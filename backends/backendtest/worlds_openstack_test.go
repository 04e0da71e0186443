package backendtest_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	gopherstack "github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/backendtest"
	"dlx.dev/dlx/backends/openstack"
)

// A real cloud is the one that OS_CLOUD names, with what DLX_TEST_OPENSTACK says of it.
// testdata/lab/openstack makes such a cloud.
type realConfig struct {
	Machine    json.RawMessage `json:"machine"`    // spec of a server
	Guest      json.RawMessage `json:"guest"`      // spec of a server that is a virtual machine; absent: there is none
	GuestHosts int             `json:"guestHosts"` // so many stand ready for Guest
	Admin      string          `json:"admin"`      // name in clouds.yaml of a login that may set quotas; empty: there is none
	Hosts      int             `json:"hosts"`      // so many stand ready for Machine
	Large      string          `json:"large"`      // a flavor of which no two fit a host
	Impossible string          `json:"impossible"` // a flavor that fits no host
	Template   string          `json:"template"`   // of clusters, with the label of_template=yes; empty: there is none
	Faults     string          `json:"faults"`     // folder of the lab's drivers, see there; empty: boots do not fail on request
	Cache      string          `json:"cache"`      // address of the memcached in which services remember tokens; empty: nobody may empty it

	Metal       json.RawMessage `json:"metal"`       // spec of a node of Ironic that can be logged into; absent: there is none
	Nodes       int             `json:"nodes"`       // so many stand ready for Metal
	MetalServer json.RawMessage `json:"metalServer"` // spec of a server that is such a node
	MetalNodes  int             `json:"metalNodes"`  // so many stand ready for MetalServer
}

const (
	realVariable = "DLX_TEST_OPENSTACK"
	inOrder      = "servers that are in order do not do so on request"
)

// Servers of the lab's fake hosts are this computer itself, as SSH servers with namespaces of their own.
func TestOpenStackCloud(t *testing.T) {
	t.Parallel()
	w := backendtest.World{Name: "openstack/cloud", New: func(t *testing.T) *backendtest.Bed { return openReal(t).bed() }}
	w.Skip = noReal()
	backendtest.Run(t, w)
}

func TestOpenStackGuests(t *testing.T) {
	t.Parallel()
	w := backendtest.World{
		Name: "openstack/guests", New: func(t *testing.T) *backendtest.Bed { return openReal(t).guests() },
		Without: map[backendtest.Need]string{
			backendtest.BootFailures: inOrder,
		},
	}
	if w.Skip = noReal(); w.Skip == "" && readReal(t).Guest == nil {
		w.Skip = realVariable + ` names no "guest"`
	}
	backendtest.Run(t, w)
}

// Nodes of the lab are this computer itself, as SSH servers with namespaces of their own.
func TestOpenStackIronic(t *testing.T) {
	t.Parallel()
	w := backendtest.World{
		Name: "openstack/ironic", New: func(t *testing.T) *backendtest.Bed { return openReal(t).metal() },
		Without: map[backendtest.Need]string{
			backendtest.QuotaLimit: "Ironic knows no quota",
			backendtest.Hosts:      "a machine of Ironic is a host of its own",
		},
	}
	if w.Skip = noReal(); w.Skip == "" && readReal(t).Metal == nil {
		w.Skip = realVariable + ` names no "metal"`
	}
	backendtest.Run(t, w)
}

// noReal says why there is no real cloud.
func noReal() string {
	switch {
	case os.Getenv(realVariable) == "":
		return realVariable + " is not set: testdata/lab/openstack says how to start a cloud"
	case os.Getenv("OS_CLOUD") == "":
		return "OS_CLOUD names no cloud"
	}
	return ""
}

func readReal(t *testing.T) realConfig {
	t.Helper()
	var c realConfig
	dec := json.NewDecoder(strings.NewReader(os.Getenv(realVariable)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		t.Fatalf("%s: %v", realVariable, err)
	}
	return c
}

// realCloud is a cloud that is not ours, with a provider over it.
type realCloud struct {
	realConfig
	t       *testing.T
	params  openstack.Params
	meddler *meddler
	compute *gophercloud.ServiceClient // of the project that is tested
	admin   *gophercloud.ServiceClient // nil: there is none
	project string
	backend *backends.Backend
}

// oneReal keeps the worlds of the cloud apart: their owners have the same names.
var oneReal sync.Mutex

func openReal(t *testing.T) *realCloud {
	t.Helper()
	oneReal.Lock()
	t.Cleanup(oneReal.Unlock)
	w := &realCloud{realConfig: readReal(t), t: t, meddler: &meddler{next: http.DefaultTransport.(*http.Transport).Clone()}}
	auth, endpoint, tls, err := clouds.Parse(clouds.WithCloudName(os.Getenv("OS_CLOUD")))
	if err != nil {
		t.Fatal(err)
	}
	w.meddler.next.TLSClientConfig = tls
	w.meddler.secrets = []string{auth.Password, string(secret)}
	w.params = openstack.Params{Auth: auth, Endpoint: endpoint, HTTP: w.meddler, Secret: secret, PollMin: 500 * time.Millisecond, PollMax: 1500 * time.Millisecond, Reach: 2 * time.Minute, Log: t.Logf}
	w.compute, w.project = login(t, os.Getenv("OS_CLOUD"))
	if w.Admin != "" {
		w.admin, _ = login(t, w.Admin)
	}
	return w
}

// login gives Nova's client of a cloud and the ID of the login's project.
func login(t *testing.T, name string) (*gophercloud.ServiceClient, string) {
	t.Helper()
	auth, endpoint, tls, err := clouds.Parse(clouds.WithCloudName(name))
	if err != nil {
		t.Fatal(err)
	}
	return loginTo(t, auth, endpoint, tls)
}

func loginTo(t *testing.T, auth gophercloud.AuthOptions, endpoint gophercloud.EndpointOpts, tls *tls.Config) (*gophercloud.ServiceClient, string) {
	t.Helper()
	client, err := gopherstack.NewClient(auth.IdentityEndpoint)
	if err != nil {
		t.Fatal(err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = tls
	t.Cleanup(transport.CloseIdleConnections)
	client.HTTPClient = http.Client{Transport: transport}
	auth.AllowReauth = true
	if err := gopherstack.Authenticate(t.Context(), client, auth); err != nil {
		t.Fatal(err)
	}
	compute, err := gopherstack.NewComputeV2(client, endpoint)
	if err != nil {
		t.Fatal(err)
	}
	compute.Microversion = "2.52" // that of the provider
	project := ""
	if r, ok := client.GetAuthResult().(tokens.CreateResult); ok {
		if p, err := r.ExtractProject(); err == nil && p != nil {
			project = p.ID
		}
	}
	return compute, project
}

func (w *realCloud) open() *backends.Backend {
	w.t.Helper()
	b, err := openstack.New(w.t.Context(), w.params)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := b.Close(context.WithoutCancel(w.t.Context())); err != nil {
			w.t.Error(err)
		}
	})
	w.backend = b
	return b
}

// bed is the cloud with servers.
func (w *realCloud) bed() *backendtest.Bed {
	b := w.alive("server", w.Machine)
	b.Hosts = w.Hosts
	if w.admin != nil {
		b.Quota = func(n int) { w.quota("instances", n) }
	}
	if w.Faults != "" && w.admin != nil {
		b.Fail = w.fail
	}
	return b
}

// guests is the cloud with servers that are virtual machines.
func (w *realCloud) guests() *backendtest.Bed {
	w.params.Reach = 0 // emulated, and many at once: minutes
	b := w.alive("server", w.Guest)
	b.Hosts = w.GuestHosts
	if w.admin != nil {
		b.Quota = func(n int) { w.quota("instances", n) }
	}
	return b
}

// metal is the cloud with nodes of Ironic.
func (w *realCloud) metal() *backendtest.Bed {
	b := w.alive("allocation", w.Metal)
	if w.Faults != "" {
		b.Fail = w.failNode
	}
	return b
}

// alive is the cloud with machines that can be logged into.
func (w *realCloud) alive(machine string, spec json.RawMessage) *backendtest.Bed {
	wires := &wires{conns: map[net.Conn]bool{}}
	w.params.Dial = wires.dial
	b := w.common(machine, spec)
	b.Program, b.Programs, b.Peers, b.Drop = backendtest.Shell, true, true, wires.drop
	return b
}

func (w *realCloud) common(machine string, spec json.RawMessage) *backendtest.Bed {
	b := &backendtest.Bed{
		Backend: w.open(), Spec: spec, Machine: machine, Bad: map[string]json.RawMessage{"nosuch-field": with(w.t, spec, "nosuch-field", 1)},
		Reopen: w.open, Left: w.left, Refuse: w.meddler.refuse, HangUp: w.meddler.hangUp, Revoke: w.meddler.revoke, Secrets: w.meddler.secrets,
		Step:     700 * time.Millisecond,
		Stranger: func(run string) func() { return stranger(w.t, w.compute, run) },
	}
	fields := []string{"flavor", "image", "network", "zone"}
	if machine == "allocation" {
		fields = []string{"image"}
	}
	for _, field := range fields {
		b.Bad["nosuch-"+field] = with(w.t, spec, field, "nosuch-"+field)
	}
	return b
}

// with is a spec with a field set.
func with(t *testing.T, spec json.RawMessage, field string, value any) json.RawMessage {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal(spec, &fields); err != nil {
		t.Fatal(err)
	}
	fields[field] = value
	out, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// quota sets one of the project's; the test's end takes it back.
func (w *realCloud) quota(name string, n int) {
	w.t.Helper()
	at := w.admin.ServiceURL("os-quota-sets", w.project)
	askNova(w.t, w.admin, http.MethodPut, at, map[string]any{"quota_set": map[string]any{name: n, "force": true}}, nil)
	w.t.Cleanup(func() { askNova(w.t, w.admin, http.MethodDelete, at, nil, nil) })
}

// fail lets the next boot of a machine end with a reason. That of the scheduler is really one: no
// host takes servers any more.
func (w *realCloud) fail(machine, reason string) {
	w.t.Helper()
	if !strings.HasPrefix(reason, "No valid host") {
		w.fault("nova", machine, reason)
		return
	}
	set := func(host, action string) {
		askNova(w.t, w.admin, http.MethodPut, w.admin.ServiceURL("os-services", action), map[string]any{"binary": "nova-compute", "host": host}, nil)
	}
	for _, host := range w.hosts() {
		set(host, "disable")
		w.t.Cleanup(func() { set(host, "enable") })
	}
}

// fault has the lab's driver of a service fail the next boot of a machine.
func (w *realCloud) fault(service, machine, reason string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.Faults, service, "*-"+machine), []byte(reason), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// failNode lets the next deployment of a machine end with a reason. No room is really none: all
// free nodes are in maintenance.
func (w *realCloud) failNode(machine, reason string) {
	w.t.Helper()
	if !strings.HasPrefix(reason, "No valid host") {
		w.fault("ironic", machine, reason)
		return
	}
	metal := metalOf(w.t, w.compute, w.params.Endpoint) // whose nodes they are
	for _, n := range listNodes(w.t, metal, w.class()) {
		at := metal.ServiceURL("nodes", n.ID, "maintenance")
		askNova(w.t, metal, http.MethodPut, at, map[string]any{"reason": "a check"}, nil)
		w.t.Cleanup(func() { askNova(w.t, metal, http.MethodDelete, at, nil, nil) })
	}
}

// revoke has Keystone revoke a token, and the services forget that it was good.
func (w *realCloud) revoke(t *testing.T, token string) {
	t.Helper()
	identity, err := gopherstack.NewIdentityV3(w.compute.ProviderClient, w.params.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	if r := tokens.Revoke(t.Context(), identity, token); r.Err != nil {
		t.Fatal(r.Err)
	}
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", w.Cache)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("flush_all\r\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
}

// class is the resource class of Metal.
func (w *realCloud) class() string {
	w.t.Helper()
	var s struct {
		Class string `json:"resourceClass"`
	}
	if err := json.Unmarshal(w.Metal, &s); err != nil {
		w.t.Fatal(err)
	}
	return s.Class
}

// hosts are the names of those that servers of the usual zone stand on.
func (w *realCloud) hosts() []string {
	var all struct {
		Services []struct {
			Host string `json:"host"`
			Zone string `json:"zone"`
		} `json:"services"`
	}
	askNova(w.t, w.admin, http.MethodGet, w.admin.ServiceURL("os-services")+"?binary=nova-compute", nil, &all)
	var out []string
	for _, s := range all.Services {
		if s.Zone == "nova" {
			out = append(out, s.Host)
		}
	}
	return out
}

// left lists what has a name or tag of dlx.
func (w *realCloud) left() []string {
	var out []string
	for _, list := range []struct{ path, key, inner string }{{"servers", "servers", ""}, {"os-server-groups", "server_groups", ""}, {"os-keypairs", "keypairs", "keypair"}} {
		var body map[string]json.RawMessage
		askNova(w.t, w.compute, http.MethodGet, w.compute.ServiceURL(list.path), nil, &body)
		var items []map[string]any
		if err := json.Unmarshal(body[list.key], &items); err != nil {
			w.t.Error(err)
		}
		for _, i := range items {
			if list.inner != "" {
				i, _ = i[list.inner].(map[string]any)
			}
			if name, _ := i["name"].(string); strings.HasPrefix(name, "dlx") {
				out = append(out, list.path+" "+name)
			}
		}
	}
	if w.Metal != nil {
		for _, a := range listAllocations(w.t, metalOf(w.t, w.compute, w.params.Endpoint)) {
			if strings.HasPrefix(a.Name, "dlx") {
				out = append(out, "allocation "+a.Name)
			}
		}
	}
	slices.Sort(out)
	return out
}

// askNova sends a request that is no part of what is tested, also when the test has ended.
func askNova(t *testing.T, c *gophercloud.ServiceClient, method, url string, body, into any) {
	t.Helper()
	o := &gophercloud.RequestOpts{OkCodes: []int{200, 201, 202, 204}}
	if body != nil {
		o.JSONBody = body
	}
	if into != nil {
		o.JSONResponse = into
	}
	resp, err := c.Request(context.WithoutCancel(t.Context()), method, url, o)
	if err != nil {
		t.Fatal(fmt.Errorf("%s %s: %w", method, url, err))
	}
	if into == nil {
		_ = resp.Body.Close()
	}
}
