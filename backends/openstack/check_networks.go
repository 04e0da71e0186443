package openstack

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"

	"dlx.dev/dlx/spec/words"
)

// networkThere looks for the network of a machine. Which one Nova takes where none is named it
// alone knows.
func (c *inspection) networkThere(ctx context.Context, a *ask) error {
	name := a.spec.Network
	if name == "" {
		return nil
	}
	all, err := c.cloud.networks(ctx, name)
	if err != nil {
		return c.cloud.fail(ctx, fmt.Sprintf("find network %q", name), err)
	}
	switch {
	case len(all) == 0:
		known, err := c.cloud.networks(ctx, "")
		if err != nil {
			return c.cloud.fail(ctx, "list networks", err)
		}
		var names []string
		for _, n := range known {
			names = append(names, n.Name)
		}
		c.finding(a, "network", "the cloud has no network %q%s", name, words.Known(name, words.Set(names)))
	case len(all) > 1:
		var ids []string
		for _, n := range all {
			ids = append(ids, n.ID)
		}
		c.finding(a, "network", "%d networks are called %q: give the ID of one (%s)", len(all), name, strings.Join(ids, ", "))
	case len(all[0].Subnets) == 0:
		c.finding(a, "network", "network %q has no subnet: servers on it would have no address", name)
	case !all[0].AdminStateUp:
		c.finding(a, "network", "network %q is switched off (admin_state_up is false)", name)
	}
	return nil
}

// networks lists those of a name or ID; all without.
func (c *cloud) networks(ctx context.Context, name string) ([]networks.Network, error) {
	opts := networks.ListOpts{Name: name}
	if uuid.MatchString(name) {
		opts = networks.ListOpts{ID: name}
	}
	pages, err := networks.List(c.network, opts).AllPages(ctx)
	if err != nil {
		return nil, err
	}
	return networks.ExtractNetworks(pages)
}

// poolThere gives the ID of an external network, and notes it where there is none.
func (c *inspection) poolThere(ctx context.Context, a *ask, field, name string) (id string, err error) {
	err = c.once("external networks", func() (err error) {
		c.listedPools, err = c.cloud.pools(ctx)
		return c.cloud.fail(ctx, "list external networks", err)
	})
	if err != nil {
		return "", err
	}
	var names, same []string
	for _, n := range c.listedPools {
		if names = append(names, n.Name); n.ID == name {
			return n.ID, nil
		}
		if n.Name == name {
			same = append(same, n.ID)
		}
	}
	switch {
	case len(same) == 0:
		c.finding(a, field, "the cloud has no external network %q%s", name, words.Known(name, words.Set(names)))
	case len(same) == 1:
		id = same[0]
	default:
		c.finding(a, field, "%d external networks are called %q: give the ID of one (%s)", len(same), name, strings.Join(same, ", "))
	}
	return id, nil
}

// runNetworkThere looks at what the run's own network asks of the cloud.
func (c *inspection) runNetworkThere(ctx context.Context) error {
	own := c.p.RunNetwork
	if own == nil || own.External == "" || !slices.ContainsFunc(c.demand, func(d demand) bool { return d.own }) {
		return nil
	}
	_, err := c.poolThere(ctx, &ask{need: -1, machine: -1}, "runNetwork.external", own.External)
	return err
}

// leadsTo looks whether floating IPs lead to a machine's network.
func (c *inspection) leadsTo(ctx context.Context, a *ask, pool string) error {
	own := c.p.RunNetwork
	switch {
	case a.spec.Network != "":
		return c.routed(ctx, a, pool)
	case own == nil || own.External == a.spec.FloatingPool:
	case own.External == "":
		c.finding(a, "floatingPool", "no router leads from %q to the run's own network: set runNetwork.external of the cloud", a.spec.FloatingPool)
	default:
		c.warning(a, "floatingPool", "the router of the run's own network leads to %q (runNetwork.external), not to %q", own.External, a.spec.FloatingPool)
	}
	return nil
}

// routerView is the part of a router's record that is used.
type routerView struct {
	ID      string `json:"id"`
	Gateway struct {
		Network string `json:"network_id"`
	} `json:"external_gateway_info"`
}

// routed looks whether a router leads from a pool to a network of the project. Of other networks, and of
// routers that others keep, a project sees too little.
func (c *inspection) routed(ctx context.Context, a *ask, pool string) error {
	all, err := c.cloud.networks(ctx, a.spec.Network)
	if err != nil {
		return c.cloud.fail(ctx, fmt.Sprintf("find network %q", a.spec.Network), err)
	}
	if len(all) != 1 || all[0].Shared || all[0].ProjectID != c.cloud.project() {
		return nil
	}
	var ports struct {
		Ports []struct {
			Device string `json:"device_id"`
			Owner  string `json:"device_owner"`
		} `json:"ports"`
	}
	var routers struct {
		Routers []routerView `json:"routers"`
	}
	err = get(ctx, c.cloud.network, url.Values{"network_id": {all[0].ID}}, &ports, "ports")
	if err == nil {
		err = get(ctx, c.cloud.network, nil, &routers, "routers")
	}
	if err = c.cloud.fail(ctx, "list routers of network "+a.spec.Network, err); unreadable(err) {
		return nil
	} else if err != nil {
		return err
	}
	for _, p := range ports.Ports {
		if !strings.HasPrefix(p.Owner, "network:router") {
			continue
		}
		i := slices.IndexFunc(routers.Routers, func(r routerView) bool { return r.ID == p.Device })
		if i < 0 || routers.Routers[i].Gateway.Network == pool { // another project's may lead anywhere
			return nil
		}
	}
	c.finding(a, "floatingPool", "no router leads from %q to network %q: a floating IP could not be given to a server there", a.spec.FloatingPool, a.spec.Network)
	return nil
}

// jumpThere logs into the jump host, if machines are reached by SSH.
func (c *inspection) jumpThere(ctx context.Context) {
	if !slices.ContainsFunc(c.demand, func(d demand) bool { return d.logins }) {
		return
	}
	field := "jump.key"
	via, err := c.via()
	if err == nil && via != nil {
		field, err = "jump", c.jump(ctx, via)
	}
	if err != nil && ctx.Err() == nil {
		c.finding(&ask{need: -1, machine: -1}, field, "%s", strings.TrimPrefix(err.Error(), "jump.key: "))
	}
}
