package openstack

import (
	"context"
	"net/http"
	"net/url"
	"slices"

	"golang.org/x/sync/errgroup"

	"dlx.dev/dlx/backends"
)

// Floating IPs are taken before servers are asked for, so that a pool or quota which is used up is
// known before anything boots, and given to the servers' ports when these are up.

// takeFloating takes the floating IPs of a fleet, or finds those that it has.
func (o *provider) takeFloating(ctx, stop context.Context, f *fleet, jobs []*job) error {
	jobs = slices.DeleteFunc(slices.Clone(jobs), func(j *job) bool { return j.pool == "" })
	if len(jobs) == 0 {
		return nil
	}
	there, err := o.ownedNets(ctx, floatingIP, f.Owner)
	if err != nil {
		return err
	}
	g, gstop := errgroup.WithContext(stop)
	g.SetLimit(atOnce)
	for _, j := range jobs {
		g.Go(func() error {
			if gstop.Err() != nil {
				return context.Cause(gstop)
			}
			var err error
			j.floating, err = o.ensureNet(ctx, &made{f.Ledger, f.Owner, j.machine, f.Until}, floatingIP, there, j.name, map[string]any{"floating_network_id": j.pool})
			return err
		})
	}
	return g.Wait()
}

// giveFloating leads a machine's floating IP to its fixed address.
func (o *provider) giveFloating(ctx context.Context, j *job) error {
	if j.floating == nil {
		return nil
	}
	op := "floating IP " + j.floating.Address + " of " + j.name
	ports, err := o.portsOf(ctx, j.id)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(ports, func(p portView) bool {
		return slices.ContainsFunc(p.FixedIPs, func(f fixedIP) bool { return f.Address == j.address })
	})
	switch {
	case i < 0:
		return backends.Errorf(backends.Infra, op, "the server has no port with its address %s", j.address)
	case j.floating.Port == ports[i].ID:
		return nil
	}
	err = o.cloud.ask(ctx, http.MethodPut, map[string]any{"floatingip": map[string]any{"port_id": ports[i].ID}}, nil, floatingIP.path, j.floating.ID)
	return o.cloud.fail(ctx, op, err)
}

// pools lists the external networks.
func (c *cloud) pools(ctx context.Context) ([]item, error) {
	var out struct {
		Networks []item `json:"networks"`
	}
	err := get(ctx, c.network, url.Values{"router:external": {"true"}}, &out, "networks")
	return out.Networks, err
}

func (c *cloud) poolID(ctx context.Context, name string) (string, error) {
	return c.find(ctx, "external network", name, c.pools)
}
