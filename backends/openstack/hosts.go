package openstack

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servergroups"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"

	"dlx.dev/dlx/backends"
)

// How the servers of a fleet stand on hosts is told by a server group of the fleet; hostId of
// each server is the proof. Bare metal has a host of its own.

// groupName is the cloud's name of a fleet's server group. Server groups have no tags: the dots,
// which neither a run's ID nor a fleet's name can have, keep runs and fleets apart.
func groupName(o backends.Owner) string { return "dlx." + o.Run + "." + o.Fleet }

// ofOwner reports whether a server group of that name is an owner's, and gives its fleet.
func ofOwner(name string, o backends.Owner) (fleet string, ok bool) {
	fleet, ok = strings.CutPrefix(name, groupName(backends.Owner{Run: o.Run}))
	return fleet, ok && (o.Fleet == "" || fleet == o.Fleet)
}

// policies of Nova, by what is asked for.
var policies = map[backends.Hosts]string{backends.SameHost: "affinity", backends.DifferentHosts: "anti-affinity"}

// checkHosts finds the machines that are hosts of their own, and refuses what no OpenStack can do.
func (o *provider) checkHosts(ctx context.Context, f *fleet) error {
	if f.Hosts == backends.AnyHosts || len(f.jobs) < 2 {
		return nil
	}
	for _, j := range f.jobs {
		if j.spec.Service == "nova" {
			s, _, err := o.cloud.extraSpecs(ctx, j.flavor, j.spec.Flavor)
			if err != nil {
				return err
			}
			j.metal = isMetal(s)
		}
		if f.Hosts == backends.SameHost && (j.metal || j.spec.Service == "ironic") {
			return backends.Errorf(backends.Config, "provision "+f.Owner.Fleet, "%d machines on one host are asked for, and machine %s is bare metal, a host of its own", len(f.jobs), j.machine)
		}
	}
	return nil
}

// groups lists the server groups of an owner by name.
func (o *provider) groups(ctx context.Context, owner backends.Owner) ([]servergroups.ServerGroup, error) {
	pages, err := servergroups.List(o.cloud.compute, nil).AllPages(ctx)
	if err = o.cloud.fail(ctx, "list server groups", err); err != nil {
		return nil, err
	}
	all, err := servergroups.ExtractServerGroups(pages)
	if err != nil {
		return nil, backends.Errorf(backends.Infra, "list server groups", "%w", err)
	}
	all = slices.DeleteFunc(all, func(g servergroups.ServerGroup) bool { _, ok := ofOwner(g.Name, owner); return !ok })
	slices.SortFunc(all, func(a, b servergroups.ServerGroup) int { return strings.Compare(a.Name+a.ID, b.Name+b.ID) })
	return all, nil
}

// hint gives the scheduler's hint for the servers of a fleet, for which it makes the server group
// unless it is there; nil where any host will do.
func (o *provider) hint(ctx context.Context, f *fleet) (servers.SchedulerHintOptsBuilder, error) {
	policy := policies[f.Hosts]
	placed := slices.DeleteFunc(f.of("nova"), func(j *job) bool { return j.metal })
	if policy == "" || len(placed) < 2 {
		return nil, nil
	}
	there, err := o.groups(ctx, f.Owner)
	if err != nil {
		return nil, err
	}
	obj := backends.Object{Kind: "servergroup", Name: groupName(f.Owner)}
	if len(there) > 0 {
		obj.ID = there[0].ID
		return servers.SchedulerHintOpts{Group: obj.ID}, f.Ledger.Made(ctx, f.Owner, obj)
	}
	if err := f.Ledger.Intend(ctx, f.Owner, obj); err != nil {
		return nil, err
	}
	// With the compute microversion in use, below 2.64, a group has a list of policies.
	g, err := servergroups.Create(ctx, o.cloud.compute, servergroups.CreateOpts{Name: obj.Name, Policies: []string{policy}}).Extract()
	err = o.cloud.fail(ctx, "create server group "+obj.Name, err)
	switch {
	case err == nil:
		obj.ID = g.ID
	case backends.ClassOf(err) == backends.Transport: // it may have arrived
		there, lerr := o.groups(ctx, f.Owner)
		if lerr != nil || len(there) == 0 {
			return nil, err
		}
		obj.ID = there[0].ID
	default:
		return nil, err
	}
	return servers.SchedulerHintOpts{Group: obj.ID}, f.Ledger.Made(ctx, f.Owner, obj)
}

// inTurn is how many servers of a fleet may be on their way to a host at once. Nova's scheduler knows
// of a group's members only what has a host: servers that are asked for together are put on wrong
// hosts, noticed there, and end in ERROR after three attempts, though there is room.
func inTurn(hint servers.SchedulerHintOptsBuilder) int {
	if hint == nil {
		return atOnce
	}
	return 1
}

// placed waits until a server has a host, which is a moment after it was asked for.
func (o *provider) placed(ctx context.Context, j *job) error {
	began := time.Now()
	return o.servers.wait(ctx, func(seen map[string]*serverView) (bool, error) {
		v := seen[j.id]
		if v == nil {
			var err error
			if v, err = o.server(ctx, j.id); err != nil {
				return false, err
			}
		}
		switch {
		case v == nil:
			return false, backends.Errorf(backends.Infra, "server "+j.name, "it vanished while it was built")
		case v.Status == "ERROR":
			return false, o.bootError(ctx, v)
		case v.HostID == "" && time.Since(began) > o.p.Boot:
			return false, backends.Errorf(backends.Infra, "server "+j.name, "it has no host since %v", o.p.Boot)
		}
		return v.HostID != "", nil
	})
}

// releaseGroups removes the server groups of an owner whose servers are gone.
func (o *provider) releaseGroups(ctx context.Context, owner backends.Owner, l backends.Ledger) error {
	left, err := o.groups(ctx, owner)
	if err != nil {
		return err
	}
	for _, g := range left {
		err := servergroups.Delete(ctx, o.cloud.compute, g.ID).ExtractErr()
		if err = o.cloud.fail(ctx, "delete server group "+g.Name, err); err != nil && !notFound(err) {
			return err
		}
	}
	if len(left) == 0 {
		return nil
	}
	still, err := o.groups(ctx, owner)
	var errs []error
	for _, g := range left {
		if err != nil || slices.ContainsFunc(still, func(s servergroups.ServerGroup) bool { return s.ID == g.ID }) {
			errs = append(errs, backends.Errorf(backends.Infra, "delete server group "+g.Name, "it is still there"))
			continue
		}
		of := owner
		of.Fleet, _ = ofOwner(g.Name, backends.Owner{Run: owner.Run})
		errs = append(errs, l.Gone(ctx, of, backends.Object{Kind: "servergroup", Name: g.Name, ID: g.ID}))
	}
	return errors.Join(append(errs, err)...)
}
