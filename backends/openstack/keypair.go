package openstack

import (
	"context"
	"strings"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/keypairs"

	"dlx.dev/dlx/backends"
)

// The keypair is one of the run's: its owner in the ledger has no fleet.

// keypair gives the run's keypair, or nil.
func (o *provider) keypair(ctx context.Context, run string) (*keypairs.KeyPair, error) {
	k, err := keypairs.Get(ctx, o.cloud.compute, keypairName(run), nil).Extract()
	err = o.cloud.fail(ctx, "find keypair "+keypairName(run), err)
	switch {
	case notFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return k, nil
}

// ensureKeypair makes the keypair of a fleet's run unless it is there.
func (o *provider) ensureKeypair(ctx context.Context, f *fleet, login *key) error {
	run, l := f.Owner.Run, f.Ledger
	op := "create keypair " + keypairName(run)
	if o.isPaired(run) {
		return nil
	}
	k, err := o.keypair(ctx, run)
	if err != nil {
		return err
	}
	owner, obj := backends.Owner{Run: run}, backends.Object{Kind: "keypair", Name: keypairName(run)}
	if k == nil {
		if err := l.Intend(ctx, owner, obj); err != nil {
			return err
		}
		k, err = keypairs.Create(ctx, o.cloud.compute, keypairs.CreateOpts{Name: obj.Name, PublicKey: string(login.public) + " " + keyComment(run, f.Until)}).Extract()
		err = o.cloud.fail(ctx, op, err)
		if conflict(err) || backends.ClassOf(err) == backends.Transport {
			// Somebody was faster, or the answer was lost.
			if found, ferr := o.keypair(ctx, run); ferr == nil && found != nil {
				k, err = found, nil
			}
		}
		if err != nil {
			return err
		}
		obj.ID = obj.Name
		if err := l.Made(ctx, owner, obj); err != nil {
			return err
		}
	}
	want := strings.Fields(string(login.public))
	if got := strings.Fields(k.PublicKey); len(got) < 2 || got[1] != want[1] {
		return backends.Errorf(backends.Config, op, "it exists with another key: the run's secret was lost or another user has a run of this name")
	}
	o.setPaired(run, true)
	return nil
}

func (o *provider) isPaired(run string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.paired[run]
}

func (o *provider) setPaired(run string, there bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.paired[run] = there
}

// releaseRun removes what is the run's as a whole, its network and its keypair, when nothing else of it
// is left, here or in the cloud.
func (o *provider) releaseRun(ctx context.Context, run string, l backends.Ledger) error {
	leave, err := o.keys.Enter(ctx, run)
	if err != nil {
		return err
	}
	defer leave()
	for _, name := range o.making.Names() {
		if r, _, _ := strings.Cut(name, " "); r == run {
			return nil // the release of that fleet will do it
		}
	}
	servers, err := o.ownedServers(ctx, backends.Owner{Run: run})
	if err != nil || len(servers) > 0 {
		return err
	}
	coes, err := o.ownedClusters(ctx, backends.Owner{Run: run})
	if err != nil || len(coes) > 0 {
		return err
	}
	if err := o.removeRunNetwork(ctx, run, l); err != nil {
		return err
	}
	k, err := o.keypair(ctx, run)
	if err != nil || k == nil {
		return err
	}
	o.setPaired(run, false)
	err = keypairs.Delete(ctx, o.cloud.compute, k.Name, nil).ExtractErr()
	if err = o.cloud.fail(ctx, "delete keypair "+k.Name, err); err != nil && !notFound(err) {
		return err
	}
	if k, err = o.keypair(ctx, run); err != nil {
		return err
	}
	if k != nil {
		return backends.Errorf(backends.Infra, "delete keypair "+k.Name, "it is still there")
	}
	return l.Gone(ctx, backends.Owner{Run: run}, backends.Object{Kind: "keypair", Name: keypairName(run), ID: keypairName(run)})
}
