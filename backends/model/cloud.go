package model

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"dlx.dev/dlx/backends"
)

// cloud is all machines of a rehearsal.
type cloud struct {
	cfg      Config
	patterns []*regexp.Regexp

	mu       sync.Mutex
	machines map[string]*machine // by ID
	next     int
	tried    map[string]int // faults by index and step
}

type machine struct {
	owner backends.Owner
	m     backends.Machine
	kind  kind
	procs map[string]*process
	load  map[string]string // background processes on its host: ID -> model; shared by the machines of the host
}

// kind is what a machine is.
type kind string

// Kinds of machines that the model knows.
const (
	metal          kind = "bm"
	containerMetal kind = "container-on-bm"
	virtual        kind = "vm"
	containerVM    kind = "container-on-vm"
)

// kindOf guesses from the fleet's name, which begins with the orchestration's, and from the service.
func kindOf(fleet string, spec json.RawMessage) kind {
	for _, k := range []kind{containerMetal, containerVM, metal, virtual} {
		if strings.HasPrefix(fleet, string(k)) {
			return k
		}
	}
	var s struct {
		Service string `json:"service"`
	}
	_ = json.Unmarshal(spec, &s) // what it does not say, it does not say
	switch s.Service {
	case "ironic":
		return metal
	case "magnum":
		return containerVM
	default:
		return virtual
	}
}

// boot times: a node that is deployed, a guest, a cluster with its nodes.
var boot = map[kind]time.Duration{metal: 8 * time.Minute, containerMetal: 14 * time.Minute, virtual: 40 * time.Second, containerVM: 6 * time.Minute}

// Provision implements backends.Provider.
func (c *cloud) Provision(ctx context.Context, req backends.FleetRequest) ([]backends.Machine, error) {
	if err := c.fault("provision/" + req.Owner.Fleet); err != nil {
		return nil, err
	}
	load := map[string]string{}
	var out []backends.Machine
	var slowest time.Duration
	for i, r := range req.Machines {
		id := req.Owner.Run + "-" + req.Owner.Fleet + "-" + r.Name
		c.mu.Lock()
		m := c.machines[id]
		c.mu.Unlock()
		if m != nil {
			out = append(out, m.m)
			continue
		}
		obj := backends.Object{Kind: "server", Name: id}
		if err := req.Ledger.Intend(ctx, req.Owner, obj); err != nil {
			return nil, err
		}
		k := kindOf(req.Owner.Fleet, r.Spec)
		slowest = max(slowest, boot[k])
		host := "host1"
		if req.Hosts != backends.SameHost {
			host = fmt.Sprintf("host%d", i+1)
			load = map[string]string{}
		}
		c.mu.Lock()
		c.next++
		m = &machine{owner: req.Owner, kind: k, procs: map[string]*process{}, load: load, m: backends.Machine{
			Name: r.Name, ID: id, Address: fmt.Sprintf("10.0.%d.%d", c.next/250, c.next%250+1), Host: host,
			Access: backends.Access{Memory: &backends.Memory{}}, Facts: map[string]string{"backend": "model", "kind": string(k), "simulated": "true"},
		}}
		c.machines[id] = m
		c.mu.Unlock()
		obj.ID = id
		if err := req.Ledger.Made(ctx, req.Owner, obj); err != nil {
			return nil, err
		}
		out = append(out, m.m)
	}
	if !c.wait(ctx, slowest) {
		return nil, context.Cause(ctx)
	}
	return out, nil
}

// Release implements backends.Provider.
func (c *cloud) Release(ctx context.Context, o backends.Owner, l backends.Ledger) error {
	if err := c.fault("release/" + o.Fleet); err != nil {
		return err
	}
	owned, _ := c.Owned(ctx, o)
	for _, obj := range owned {
		c.mu.Lock()
		m := c.machines[obj.ID]
		delete(c.machines, obj.ID)
		c.mu.Unlock()
		if m == nil {
			continue
		}
		for _, p := range m.procs {
			p.cancel()
		}
		if err := l.Gone(ctx, m.owner, obj); err != nil {
			return err
		}
	}
	return nil
}

// Owned implements backends.Provider.
func (c *cloud) Owned(_ context.Context, o backends.Owner) ([]backends.Object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []backends.Object
	for id, m := range c.machines {
		if m.owner.Run == o.Run && (o.Fleet == "" || m.owner.Fleet == o.Fleet) {
			out = append(out, backends.Object{Kind: "server", Name: id, ID: id})
		}
	}
	slices.SortFunc(out, func(a, b backends.Object) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Leftovers implements backends.Collector: what a rehearsal made ended with its process.
func (c *cloud) Leftovers(context.Context) ([]backends.Leftover, error) { return nil, nil }

var _ backends.Checker = (*cloud)(nil)

// Check implements backends.Checker: the model has whatever is asked for.
func (c *cloud) Check(context.Context, string, []backends.Need) ([]backends.Finding, error) {
	return nil, nil
}
