package openstack

import (
	"context"
	"fmt"
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

// poolThere looks for an external network, and notes it where there is none.
func (c *inspection) poolThere(ctx context.Context, a *ask, field, name string) error {
	err := c.once("external networks", func() (err error) {
		c.listedPools, err = c.cloud.pools(ctx)
		return c.cloud.fail(ctx, "list external networks", err)
	})
	if err != nil {
		return err
	}
	var names, same []string
	for _, n := range c.listedPools {
		if names = append(names, n.Name); n.ID == name {
			return nil
		}
		if n.Name == name {
			same = append(same, n.ID)
		}
	}
	switch {
	case len(same) == 0:
		c.finding(a, field, "the cloud has no external network %q%s", name, words.Known(name, words.Set(names)))
	case len(same) > 1:
		c.finding(a, field, "%d external networks are called %q: give the ID of one (%s)", len(same), name, strings.Join(same, ", "))
	}
	return nil
}

// runNetworkThere looks at what the run's own network asks of the cloud.
func (c *inspection) runNetworkThere(ctx context.Context) error {
	own := c.p.RunNetwork
	if own == nil || own.External == "" || !slices.ContainsFunc(c.demand, func(d demand) bool { return d.own }) {
		return nil
	}
	return c.poolThere(ctx, &ask{need: -1, machine: -1}, "runNetwork.external", own.External)
}

// leadsTo looks whether floating IPs lead to a machine on the run's own network.
func (c *inspection) leadsTo(a *ask) {
	own := c.p.RunNetwork
	if own == nil || a.spec.Network != "" || own.External == a.spec.FloatingPool {
		return
	}
	if own.External == "" {
		c.finding(a, "floatingPool", "no router leads from %q to the run's own network: set runNetwork.external of the cloud", a.spec.FloatingPool)
		return
	}
	c.warning(a, "floatingPool", "the router of the run's own network leads to %q (runNetwork.external), not to %q", own.External, a.spec.FloatingPool)
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
