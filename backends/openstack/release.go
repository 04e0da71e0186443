package openstack

import (
	"context"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"dlx.dev/dlx/backends"
)

// Release removes everything of an owner.
func (o *provider) Release(ctx context.Context, owner backends.Owner, l backends.Ledger) error {
	if err := checkOwner(owner, false); err != nil {
		return backends.Errorf(backends.Internal, "release", "%w", err)
	}
	// Requests under way come first: what they make has to be seen.
	for _, name := range o.making.Names() {
		if run, fleet, _ := strings.Cut(name, " "); run == owner.Run && (owner.Fleet == "" || owner.Fleet == fleet) {
			leave, err := o.making.Enter(ctx, name)
			if err != nil {
				return err
			}
			leave()
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return o.releaseServers(gctx, owner, l) })
	g.Go(func() error { return o.removeNets(gctx, floatingIP, owner, l, nil) })
	g.Go(func() error { return o.releaseNodes(gctx, owner, l) })
	g.Go(func() error { return o.releaseClusters(gctx, owner, l) })
	if err := g.Wait(); err != nil {
		return err
	}
	if err := o.releaseGroups(ctx, owner, l); err != nil {
		return err
	}
	return o.releaseRun(ctx, owner.Run, l)
}

// Owned lists what exists for an owner. The keypair belongs to the run as a whole.
func (o *provider) Owned(ctx context.Context, owner backends.Owner) ([]backends.Object, error) {
	if err := checkOwner(owner, false); err != nil {
		return nil, backends.Errorf(backends.Internal, "list", "%w", err)
	}
	servers, err := o.ownedServers(ctx, owner)
	if err != nil {
		return nil, err
	}
	allocations, err := o.ownedAllocations(ctx, owner)
	if err != nil {
		return nil, err
	}
	groups, err := o.groups(ctx, owner)
	if err != nil {
		return nil, err
	}
	coes, err := o.ownedClusters(ctx, owner)
	if err != nil {
		return nil, err
	}
	out, err := o.allOwnedNets(ctx, owner)
	if err != nil {
		return nil, err
	}
	for _, v := range coes {
		out = append(out, v.object())
	}
	for _, g := range groups {
		out = append(out, backends.Object{Kind: "servergroup", Name: g.Name, ID: g.ID})
	}
	for _, v := range servers {
		out = append(out, v.object())
	}
	for _, a := range allocations {
		out = append(out, a.object())
	}
	if owner.Fleet == "" {
		k, err := o.keypair(ctx, owner.Run)
		if err != nil {
			return nil, err
		}
		if k != nil {
			out = append(out, backends.Object{Kind: "keypair", Name: k.Name, ID: k.Name})
		}
	}
	slices.SortFunc(out, func(a, b backends.Object) int {
		return strings.Compare(a.Kind+" "+a.Name+" "+a.ID, b.Kind+" "+b.Name+" "+b.ID)
	})
	return out, nil
}
