package openstack

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/gophercloud/gophercloud/v2"
	gopherstack "github.com/gophercloud/gophercloud/v2/openstack"

	"dlx.dev/dlx/backends"
)

// Microversions, each the lowest that has what is used.
const (
	// 2.52 (Pike): tags in the request that makes a server, so that none is ever without. It
	// includes 2.26 (filters by tags) and 2.47 (what the flavor really was, in the record).
	novaVersion = "2.52"
	// 1.56 (Stein): a config drive as JSON, which Ironic makes the image of. Includes 1.52,
	// allocations.
	ironicVersion = "1.56"
	// 1.2: clusters are made and deleted in the background, as everywhere; 1.10 (Ussuri) is what
	// all of this was tried with. (merge_labels has no microversion of its own.)
	magnumVersion = "1.10"
)

// cloud is a login with the clients of its services.
type cloud struct {
	client  *gophercloud.ProviderClient
	compute *gophercloud.ServiceClient
	image   *gophercloud.ServiceClient
	network *gophercloud.ServiceClient
	metal   *gophercloud.ServiceClient // nil: the cloud has no Ironic
	coe     *gophercloud.ServiceClient // nil: the cloud has no Magnum
	secrets []string                   // for redact

	mu    sync.Mutex
	known map[string]string // IDs by "kind name"
}

// connect logs in.
func connect(ctx context.Context, p *Params) (*cloud, error) {
	ao, op := p.Auth, "log into "+p.Auth.IdentityEndpoint
	ao.AllowReauth = true
	client, err := gopherstack.NewClient(ao.IdentityEndpoint)
	if err != nil {
		return nil, backends.Errorf(backends.Config, op, "auth_url: %w", err)
	}
	next := p.HTTP
	if next == nil {
		next = newHTTP(p.TLS)
	}
	client.HTTPClient = http.Client{Transport: &patient{next: next}}
	client.UserAgent.Prepend("dlx")
	c := &cloud{client: client, known: map[string]string{}, secrets: []string{ao.Password, ao.Passcode, ao.ApplicationCredentialSecret, ao.TokenID, string(p.Secret)}}
	if err := gopherstack.Authenticate(ctx, client, ao); err != nil {
		return nil, c.fail(ctx, op, err)
	}
	if c.compute, err = gopherstack.NewComputeV2(client, p.Endpoint); err != nil {
		return nil, c.fail(ctx, "find the compute service", err)
	}
	c.compute.Microversion = novaVersion
	if c.image, err = gopherstack.NewImageV2(client, p.Endpoint); err != nil {
		return nil, c.fail(ctx, "find the image service", err)
	}
	if c.network, err = gopherstack.NewNetworkV2(client, p.Endpoint); err != nil {
		return nil, c.fail(ctx, "find the network service", err)
	}
	if m, err := gopherstack.NewBareMetalV1(client, p.Endpoint); err == nil {
		c.metal = m
		c.metal.Microversion = ironicVersion
	}
	if m, err := gopherstack.NewContainerInfraV1(client, p.Endpoint); err == nil {
		c.coe = m
		c.coe.Microversion = magnumVersion
	}
	return c, nil
}

// get decodes an answer into few fields: the typed lists decode everything three times.
func get(ctx context.Context, c *gophercloud.ServiceClient, q url.Values, into any, path ...string) error {
	u := c.ServiceURL(path...)
	if len(q) > 0 {
		u += "?" + q.Encode()
	}
	_, err := c.Get(ctx, u, into, nil) //nolint:bodyclose // the SDK closes it when it decodes
	return err
}

// item is what lists of flavors, images and networks have in common.
type item struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// find gives the ID of something that a spec names, by ID or by name.
func (c *cloud) find(ctx context.Context, kind, name string, list func(context.Context) ([]item, error)) (string, error) {
	c.mu.Lock()
	id := c.known[kind+" "+name]
	c.mu.Unlock()
	if id != "" {
		return id, nil
	}
	op := fmt.Sprintf("find %s %q", kind, name)
	items, err := list(ctx)
	if err != nil {
		return "", c.fail(ctx, op, err)
	}
	same := 0
	for _, i := range items {
		if i.ID == name {
			id, same = i.ID, 1
			break
		}
		if i.Name == name {
			id = i.ID
			same++
		}
	}
	switch {
	case same == 0:
		return "", backends.Errorf(backends.Config, op, "the cloud has none of this name or ID")
	case same > 1:
		return "", backends.Errorf(backends.Config, op, "%d have this name: use the ID", same)
	}
	c.mu.Lock()
	c.known[kind+" "+name] = id
	c.mu.Unlock()
	return id, nil
}

func (c *cloud) flavor(ctx context.Context, name string) (string, error) {
	return c.find(ctx, "flavor", name, func(ctx context.Context) ([]item, error) {
		all, err := c.flavors(ctx)
		var out []item
		for _, f := range all {
			out = append(out, item{f.ID, f.Name})
		}
		return out, err
	})
}

// zone checks that there is a zone, which Nova would refuse without naming it. An administrator's may
// be followed by a host.
func (c *cloud) zone(ctx context.Context, name string) error {
	name, _, _ = strings.Cut(name, ":")
	_, err := c.find(ctx, "zone", name, func(ctx context.Context) ([]item, error) {
		all, err := c.zones(ctx)
		var out []item
		for _, z := range all {
			out = append(out, item{z.Name, z.Name})
		}
		return out, err
	})
	return err
}

// zoneView is the part of an availability zone's record that is used.
type zoneView struct {
	Name  string `json:"zoneName"`
	State struct {
		Available bool `json:"available"`
	} `json:"zoneState"`
}

func (c *cloud) zones(ctx context.Context) ([]zoneView, error) {
	var all struct {
		Zones []zoneView `json:"availabilityZoneInfo"`
	}
	err := get(ctx, c.compute, nil, &all, "os-availability-zone")
	return all.Zones, err
}

func (c *cloud) imageID(ctx context.Context, name string) (string, error) {
	return c.find(ctx, "image", name, func(ctx context.Context) ([]item, error) {
		all, err := c.images(ctx, name)
		var out []item
		for _, i := range all {
			out = append(out, item{i.ID, i.Name})
		}
		return out, err
	})
}

func (c *cloud) networkID(ctx context.Context, name string) (string, error) {
	return c.find(ctx, "network", name, func(ctx context.Context) ([]item, error) {
		all, err := c.networks(ctx, name)
		var out []item
		for _, n := range all {
			out = append(out, item{n.ID, n.Name})
		}
		return out, err
	})
}
