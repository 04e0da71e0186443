package openstack

import (
	"context"
	"slices"
	"strings"

	"dlx.dev/dlx/backends"
)

// quotas compares what is up at once with what the project may have.
func (c *inspection) quotas(ctx context.Context) error {
	for _, look := range []func(context.Context) error{c.computeQuotas, c.networkQuotas, c.clusterQuota} {
		if err := look(ctx); err != nil {
			return err
		}
	}
	return nil
}

// networkQuotas: each server has a port.
func (c *inspection) networkQuotas(ctx context.Context) error {
	project := c.cloud.project()
	if project == "" || c.peak(func(d *demand) int { return d.instances }) == 0 {
		return nil
	}
	var out struct {
		Quota map[string]struct {
			Limit int `json:"limit"`
			Used  int `json:"used"`
		} `json:"quota"`
	}
	err := get(ctx, c.cloud.network, nil, &out, "quotas", project, "details.json")
	if err = c.cloud.fail(ctx, "show quotas of the network", err); unreadable(err) {
		return nil
	} else if err != nil {
		return err
	}
	for _, q := range []struct {
		name, what string
		of         func(*demand) int
	}{
		{"port", "ports", func(d *demand) int { return d.instances }},
		{"floatingip", "floating IPs", func(d *demand) int { return d.floating }},
	} {
		if is, ok := out.Quota[q.name]; ok {
			c.compare(q.what, is.Limit, is.Used, q.of)
		}
	}
	if !slices.ContainsFunc(c.demand, func(d demand) bool { return d.own }) {
		return nil
	}
	own := []string{"network", "subnet", "security_group"}
	if c.p.RunNetwork.External != "" {
		own = append(own, "router")
	}
	for _, name := range own { // one a run
		if is, ok := out.Quota[name]; ok && is.Limit >= 0 && is.Used+1 > is.Limit && !c.has(strings.ReplaceAll(name, "_", ""), "") {
			c.together("the plan needs 1 %s, the project's quota is %d and %d are in use: raise the quota, or remove what nobody needs",
				strings.ReplaceAll(name, "_", " "), is.Limit, is.Used)
		}
	}
	return nil
}

func (c *inspection) computeQuotas(ctx context.Context) error {
	if c.peak(func(d *demand) int { return d.instances + d.clusters }) == 0 {
		return nil
	}
	var out struct {
		Limits struct {
			Absolute map[string]int `json:"absolute"`
		} `json:"limits"`
	}
	err := get(ctx, c.cloud.compute, nil, &out, "limits")
	if err = c.cloud.fail(ctx, "show limits", err); unreadable(err) {
		return nil
	} else if err != nil {
		return err
	}
	all := out.Limits.Absolute
	for _, q := range []struct {
		what, limit, used string
		of                func(*demand) int
	}{
		{"instances", "maxTotalInstances", "totalInstancesUsed", func(d *demand) int { return d.instances }},
		{"cores", "maxTotalCores", "totalCoresUsed", func(d *demand) int { return d.cores }},
		{"MiB of RAM", "maxTotalRAMSize", "totalRAMUsed", func(d *demand) int { return d.ram }},
		{"server groups", "maxServerGroups", "totalServerGroupsUsed", func(d *demand) int { return d.group }},
	} {
		if limit, ok := all[q.limit]; ok {
			c.compare(q.what, limit, all[q.used], q.of)
		}
	}
	if limit, ok := all["maxServerGroupMembers"]; ok && limit >= 0 {
		for i, d := range c.demand {
			if d.members > limit {
				c.finding(&ask{need: i, machine: -1}, "", "fleet %s has %d servers in one server group, and the quota is %d", c.needs[i].Fleet, d.members, limit)
			}
		}
	}
	return c.keypairQuota(ctx, all)
}

// keypairQuota: a run makes one.
func (c *inspection) keypairQuota(ctx context.Context, all map[string]int) error {
	limit, ok := all["maxTotalKeypairs"]
	if !ok || limit < 0 {
		return nil
	}
	there, err := c.keypairs(ctx)
	if err != nil {
		return err
	}
	if len(there)+1 > limit && !c.has("keypair", "") {
		c.together("the plan needs 1 keypair, the user's quota is %d and %d are in use: remove one that nobody needs", limit, len(there))
	}
	return nil
}

func (c *inspection) peak(of func(*demand) int) int {
	return backends.Peak(c.needs, func(i int) int { return of(&c.demand[i]) })
}

// compare notes where what is up at once is more than what is free. What the run has is free for it.
func (c *inspection) compare(what string, limit, used int, of func(*demand) int) {
	need := c.peak(of)
	for i := range c.held {
		used -= of(&c.held[i])
	}
	used = max(0, used)
	if limit < 0 || need == 0 || used+need <= limit {
		return
	}
	most, fleet := 0, ""
	var fleets []string
	for i := range c.needs {
		n := of(&c.demand[i])
		if n > 0 {
			fleets = append(fleets, c.needs[i].Fleet)
		}
		if n > most {
			most, fleet = n, c.needs[i].Fleet
		}
	}
	if used+most > limit {
		c.together("fleet %s alone needs %d %s, the project's quota is %d and %d are in use: raise the quota, or release what is in use", fleet, most, what, limit, used)
		return
	}
	c.together("the plan needs %d %s at once (fleets %s), the project's quota is %d and %d are in use: raise the quota, or bound by the testbed's capacity what is up at once",
		need, what, strings.Join(fleets, ", "), limit, used)
}

// clusterQuota compares the clusters that are up at once with what Magnum allows.
func (c *inspection) clusterQuota(ctx context.Context) error {
	project := c.cloud.project()
	if c.cloud.coe == nil || project == "" || c.peak(func(d *demand) int { return d.clusters }) == 0 {
		return nil
	}
	var out struct {
		Limit *int `json:"hard_limit"`
	}
	err := get(ctx, c.cloud.coe, nil, &out, "quotas", project, "Cluster")
	if err = c.cloud.fail(ctx, "show quota of clusters", err); unreadable(err) || err == nil && out.Limit == nil {
		return nil
	} else if err != nil {
		return err
	}
	there, err := c.listClusters(ctx)
	if err != nil {
		return err
	}
	c.compare("clusters", *out.Limit, len(there), func(d *demand) int { return d.clusters })
	return nil
}
