package backendtest_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	gopherstack "github.com/gophercloud/gophercloud/v2/openstack"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/backendtest"
	"dlx.dev/dlx/backends/sandbox"
)

// What bare metal alone has, checked against the sandbox and, where there is one, a real cloud.

func TestMetalSandbox(t *testing.T) {
	t.Parallel()
	runMetal(t, func(t *testing.T) *metalBed {
		w := &world{t: t, spec: node, poll: 20 * time.Millisecond}
		w.cfg = sandbox.Config{State: t.TempDir(), Hosts: 3, BuildTime: 50 * time.Millisecond, DeleteTime: 300 * time.Millisecond}
		b := w.bed()
		user, password, _, _ := w.cloud.Credentials()
		endpoint := gophercloud.EndpointOpts{Region: sandbox.Region}
		client, _ := loginTo(t, gophercloud.AuthOptions{IdentityEndpoint: w.cloud.URL(), Username: user, Password: password, DomainID: "default", TenantName: "sandbox"}, endpoint, nil)
		metal := metalOf(t, client, endpoint)
		return &metalBed{novaBed: &novaBed{Bed: b}, metal: metal, class: sandbox.ResourceClass, nodes: 3}
	})
}

func TestMetalCloud(t *testing.T) {
	t.Parallel()
	if why := noMetal(t); why != "" {
		backendtest.Run(t, backendtest.World{Name: "openstack/ironic", Skip: why})
		return
	}
	runMetal(t, func(t *testing.T) *metalBed {
		w := openReal(t)
		return &metalBed{novaBed: &novaBed{Bed: w.metal()}, metal: metalOf(t, w.compute, w.params.Endpoint), class: w.class(), nodes: w.Nodes}
	})
}

// noMetal says why there is no real Ironic.
func noMetal(t *testing.T) string {
	if why := noReal(); why != "" {
		return why
	}
	if readReal(t).Metal == nil {
		return realVariable + ` names no "metal"`
	}
	return ""
}

// metalBed is a fresh cloud with an Ironic.
type metalBed struct {
	*novaBed
	metal *gophercloud.ServiceClient
	class string
	nodes int // so many of the class are free
}

func runMetal(t *testing.T, fresh func(*testing.T) *metalBed) {
	for _, c := range []struct {
		name  string
		check func(*testing.T, *metalBed)
	}{
		{"released nodes are clean and free again", cleanAfterRelease},
		{"one node too many is no capacity, in the cloud's words", tooManyNodes},
		{"a deployment that fails says why, and its node comes back", deployFails},
		{"an allocation says whose it is", allocationLabels},
		{"a node of somebody else is left alone", foreignNode},
		{"a node that was named and never deployed is given back as it was", namedOnly},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := fresh(t)
			c.check(t, b)
			if left := b.Left(); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			b.allFree(t)
		})
	}
}

type seenNode struct {
	ID       string         `json:"uuid"`
	Name     string         `json:"name"`
	State    string         `json:"provision_state"`
	Instance string         `json:"instance_uuid"`
	Class    string         `json:"resource_class"`
	Info     map[string]any `json:"instance_info"`
}

type seenAllocation struct {
	ID    string            `json:"uuid"`
	Name  string            `json:"name"`
	State string            `json:"state"`
	Node  string            `json:"node_uuid"`
	Extra map[string]string `json:"extra"`
}

// metalOf gives Ironic's client of a login.
func metalOf(t *testing.T, login *gophercloud.ServiceClient, endpoint gophercloud.EndpointOpts) *gophercloud.ServiceClient {
	t.Helper()
	c, err := gopherstack.NewBareMetalV1(login.ProviderClient, endpoint)
	if err != nil {
		t.Fatal(err)
	}
	c.Microversion = "1.56" // that of the provider
	return c
}

func listNodes(t *testing.T, c *gophercloud.ServiceClient, class string) []seenNode {
	t.Helper()
	var all struct {
		Nodes []seenNode `json:"nodes"`
	}
	askNova(t, c, http.MethodGet, c.ServiceURL("nodes", "detail"), nil, &all)
	return slices.DeleteFunc(all.Nodes, func(n seenNode) bool { return n.Class != class })
}

func listAllocations(t *testing.T, c *gophercloud.ServiceClient) []seenAllocation {
	t.Helper()
	var all struct {
		Allocations []seenAllocation `json:"allocations"`
	}
	askNova(t, c, http.MethodGet, c.ServiceURL("allocations"), nil, &all)
	return all.Allocations
}

// allFree demands that every node is free at once.
func (b *metalBed) allFree(t *testing.T) {
	t.Helper()
	list := listNodes(t, b.metal, b.class)
	if len(list) != b.nodes {
		t.Errorf("got %d nodes; want %d", len(list), b.nodes)
	}
	for _, n := range list {
		if n.State != "available" || n.Instance != "" || n.Info["image_source"] != nil || n.Info["display_name"] != nil {
			t.Errorf("node %s: it is in state %q, of %q, with image %v, named %v", n.Name, n.State, n.Instance, n.Info["image_source"], n.Info["display_name"])
		}
	}
}

// runs has a process say who it is.
func (b *metalBed) runs(t *testing.T, m backends.Machine) {
	t.Helper()
	l := b.Backend.Launchers[m.Access.Kind()]
	if err := l.Start(t.Context(), backends.Single(m, backends.Process{ID: "p", Args: b.Program(backendtest.Program{Out: "at work", Exit: 4})})); err != nil {
		t.Fatal(err)
	}
	if e, err := l.Wait(t.Context(), m, "p-0"); err != nil || e.Code != 4 {
		t.Errorf("got %+v, %v", e, err)
	}
}

func cleanAfterRelease(t *testing.T, b *metalBed) {
	ms, err := b.Backend.Provision(t.Context(), b.request("f", 2, b.Spec, backends.AnyHosts))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range ms {
		b.runs(t, m)
	}
	b.release(t)
	b.allFree(t)
	// All of them at once, the moment after.
	if _, err := b.Backend.Provision(t.Context(), b.request("g", b.nodes, b.Spec, backends.AnyHosts)); err != nil {
		t.Errorf("all nodes: %v", err)
	}
	b.release(t)
}

func tooManyNodes(t *testing.T, b *metalBed) {
	_, err := b.Backend.Provision(t.Context(), b.request("f", b.nodes+1, b.Spec, backends.AnyHosts))
	// Which words depends on whether the last free node is taken before or after it was looked at.
	refused(t, err, backends.Capacity, "allocation dlx-"+novaRun+"-f-m", "Failed to process allocation", "nodes")
	b.release(t)
}

func deployFails(t *testing.T, b *metalBed) {
	if b.Fail == nil {
		backendtest.Skip(t, "openstack/ironic", "deployments do not fail on request")
	}
	b.Fail("m1", "the bolt fell out of the rack")
	_, err := b.Backend.Provision(t.Context(), b.request("f", 2, b.Spec, backends.AnyHosts))
	refused(t, err, backends.Infra, "of dlx-"+novaRun+"-f-m1", "deploy failed", "the bolt fell out of the rack")
	if err != nil && strings.Contains(err.Error(), "edacted") {
		t.Errorf("got %v; want no word of what is hidden", err)
	}
	b.release(t)
}

func allocationLabels(t *testing.T, b *metalBed) {
	ms, err := b.Backend.Provision(t.Context(), b.request("f", 1, b.Spec, backends.AnyHosts))
	if err != nil {
		t.Fatal(err)
	}
	list := listAllocations(t, b.metal)
	if len(list) != 1 || list[0].ID != ms[0].ID || list[0].Node != ms[0].Host || list[0].State != "active" {
		t.Fatalf("got %+v; want one, for %s on %s", list, ms[0].ID, ms[0].Host)
	}
	for name, want := range map[string]string{"dlx-run": novaRun, "dlx-fleet": "f", "dlx-machine": "m0", "dlx-until": "4000000000"} {
		if got := list[0].Extra[name]; got != want {
			t.Errorf("extra %s: got %q; want %q", name, got, want)
		}
	}
	b.release(t)
}

// allocated waits until an allocation has its node.
func (b *metalBed) allocated(t *testing.T, id string) seenAllocation {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		list := listAllocations(t, b.metal)
		i := slices.IndexFunc(list, func(a seenAllocation) bool { return a.ID == id })
		if i >= 0 && list[i].Node != "" {
			return list[i]
		}
		if time.Now().After(end) {
			t.Errorf("allocation %s has no node: %+v", id, list)
			return seenAllocation{}
		}
	}
}

// namedOnly has what a dlx leaves that is killed between the two requests of a deployment.
func namedOnly(t *testing.T, b *metalBed) {
	var a seenAllocation
	askNova(t, b.metal, http.MethodPost, b.metal.ServiceURL("allocations"), map[string]any{"name": "dlx-" + novaRun + "-f-m0", "resource_class": b.class,
		"extra": map[string]any{"dlx-run": novaRun, "dlx-fleet": "f", "dlx-machine": "m0", "dlx-until": "4000000000"}}, &a)
	a = b.allocated(t, a.ID)
	askNova(t, b.metal, http.MethodPatch, b.metal.ServiceURL("nodes", a.Node), []map[string]any{
		{"op": "add", "path": "/instance_info/image_source", "value": "some-image"},
		{"op": "add", "path": "/instance_info/display_name", "value": a.Name},
	}, nil)
	b.release(t)
}

// foreignNode has an allocation of somebody else that is named like ours, in the same project.
func foreignNode(t *testing.T, b *metalBed) {
	at := b.metal.ServiceURL("allocations")
	var other seenAllocation
	askNova(t, b.metal, http.MethodPost, at, map[string]any{"name": "other-" + novaRun, "resource_class": b.class}, &other)
	before := b.allocated(t, other.ID)
	ms, err := b.Backend.Provision(t.Context(), b.request("f", b.nodes-1, b.Spec, backends.AnyHosts))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range ms {
		if m.Host == before.Node {
			t.Errorf("machine %s stands on the node of somebody else", m.Name)
		}
	}
	list, err := b.Backend.Owned(t.Context(), backends.Owner{Run: novaRun})
	if err != nil || len(list) != b.nodes-1 {
		t.Errorf("got %v, %v; want %d", list, err, b.nodes-1)
	}
	b.release(t)
	if after := b.allocated(t, other.ID); before.Node == "" || fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("the allocation of somebody else: got %+v; want %+v", after, before)
	}
	askNova(t, b.metal, http.MethodDelete, b.metal.ServiceURL("allocations", other.ID), nil, nil)
}

// Bare metal through Nova: a flavor that takes a whole node of a resource class.
func TestMetalServerCloud(t *testing.T) {
	t.Parallel()
	if why := noMetal(t); why != "" || readReal(t).MetalServer == nil {
		backendtest.Run(t, backendtest.World{Name: "openstack/ironic", Skip: why + ` (or no "metalServer")`})
		return
	}
	// In this order: Nova does not say when a node is cleaned, and takes it for free a while later.
	for _, c := range []struct {
		name  string
		check func(*testing.T, *realCloud, *metalBed)
	}{
		{"two on one host are refused", metalServersApart},
		{"one too many is no capacity, in the cloud's words", tooManyMetalServers},
		{"a deployment that fails is made on another node", metalServerHeals},
		{"its processes run, and a new process finds it", metalServerLife},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := openReal(t)
			b := &metalBed{novaBed: &novaBed{Bed: w.alive("server", w.MetalServer)}, nodes: w.MetalNodes}
			c.check(t, w, b)
			b.release(t)
			if left := b.Left(); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func metalServerLife(t *testing.T, w *realCloud, b *metalBed) {
	r := b.request("f", 2, b.Spec, backends.DifferentHosts) // to Nova, all its nodes are one host
	first := b.patiently(t, w, r)
	if first[0].Host == first[1].Host {
		t.Errorf("two nodes are one host: %s", first[0].Host)
	}
	b.Backend = b.Reopen()
	again, err := b.Backend.Provision(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range again {
		if m.ID != first[i].ID {
			t.Errorf("machine %s: got %s; want %s", m.Name, m.ID, first[i].ID)
		}
		b.runs(t, m)
	}
}

func metalServersApart(t *testing.T, _ *realCloud, b *metalBed) {
	_, err := b.Backend.Provision(t.Context(), b.request("f", 2, b.Spec, backends.SameHost))
	refused(t, err, backends.Config, "machine m0 is bare metal, a host of its own")
}

func tooManyMetalServers(t *testing.T, _ *realCloud, b *metalBed) {
	_, err := b.Backend.Provision(t.Context(), b.request("f", b.nodes+1, b.Spec, backends.AnyHosts))
	refused(t, err, backends.Capacity)
	// Which it is depends on whether Nova offered a node that another server was given meanwhile.
	if words := []string{"No valid host was found.", "Exhausted all hosts available"}; err != nil && !slices.ContainsFunc(words, func(w string) bool { return strings.Contains(err.Error(), w) }) {
		t.Errorf("got %v; want it to say one of %q", err, words)
	}
}

func metalServerHeals(t *testing.T, w *realCloud, b *metalBed) {
	if w.Faults == "" {
		backendtest.Skip(t, "openstack/ironic", "deployments do not fail on request")
	}
	w.fault("ironic", "m0", "the bolt fell out of the rack")
	b.runs(t, b.patiently(t, w, b.request("f", 1, b.Spec, backends.AnyHosts))[0])
}

// patiently provisions as the executor would, when Nova has seen that enough nodes are clean: it takes them for
// free a while after Ironic does, and what is asked for too early takes nodes only to give them back.
func (b *metalBed) patiently(t *testing.T, w *realCloud, r backends.FleetRequest) []backends.Machine {
	t.Helper()
	for end := time.Now().Add(5 * time.Minute); ; time.Sleep(time.Second) {
		if w.admin != nil && len(w.freeMetal()) < len(r.Machines) && time.Now().Before(end) {
			continue
		}
		ms, err := b.Backend.Provision(t.Context(), r)
		if err == nil {
			return ms
		}
		if !backends.ClassOf(err).Temporary() || time.Now().After(end) {
			t.Fatal(err)
		}
		b.release(t)
	}
}

// freeMetal asks Placement for the nodes that Nova takes for free.
func (w *realCloud) freeMetal() []struct{} {
	w.t.Helper()
	placement, err := gopherstack.NewPlacementV1(w.admin.ProviderClient, w.params.Endpoint)
	if err != nil {
		w.t.Fatal(err)
	}
	placement.MoreHeaders = map[string]string{"OpenStack-API-Version": "placement 1.4"} // the first that knows the filter
	var free struct {
		Providers []struct{} `json:"resource_providers"`
	}
	askNova(w.t, placement, http.MethodGet, placement.ServiceURL("resource_providers")+"?resources=CUSTOM_BAREMETAL:1", nil, &free)
	return free.Providers
}
