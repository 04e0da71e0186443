package openstack

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/keypairs"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"golang.org/x/sync/errgroup"

	"dlx.dev/dlx/backends"
)

// serverView is the part of a server's record that is used; a list is decoded into it directly.
type serverView struct {
	ID        string                     `json:"id"`
	Name      string                     `json:"name"`
	Status    string                     `json:"status"`
	Task      string                     `json:"OS-EXT-STS:task_state"`
	Tags      []string                   `json:"tags"`
	Metadata  map[string]string          `json:"metadata"`
	HostID    string                     `json:"hostId"`
	Zone      string                     `json:"OS-EXT-AZ:availability_zone"`
	Created   string                     `json:"created"`
	Addresses map[string][]serverAddress `json:"addresses"`
	Fault     struct {
		Message string `json:"message"`
	} `json:"fault"`
	Flavor struct {
		Name  string            `json:"original_name"`
		VCPUs int               `json:"vcpus"`
		RAM   int               `json:"ram"`
		Specs map[string]string `json:"extra_specs"`
	} `json:"flavor"`
}

type serverAddress struct {
	Addr    string `json:"addr"`
	Version int    `json:"version"`
	Type    string `json:"OS-EXT-IPS:type"`
}

func (v *serverView) object() backends.Object {
	return backends.Object{Kind: "server", Name: v.Name, ID: v.ID}
}

// address picks where to reach a server: a fixed one before a floating one (which is the way in
// from outside, not between machines), v4 before v6, then by the network's name.
func (v *serverView) address() string {
	var best serverAddress
	rank := func(a serverAddress) int {
		r := a.Version
		if a.Type == "floating" {
			r += 10
		}
		return r
	}
	for _, n := range slices.Sorted(maps.Keys(v.Addresses)) {
		for _, a := range v.Addresses[n] {
			if best.Addr == "" || rank(a) < rank(best) {
				best = a
			}
		}
	}
	return best.Addr
}

// host tells the host of a server from others. To Nova, all nodes of an Ironic are one: that of the
// nova-compute which they are behind.
func (v *serverView) host() string {
	if isMetal(v.Flavor.Specs) {
		return v.ID
	}
	return v.HostID
}

// list asks for servers by a query, page after page: what is on another page is not gone.
func (o *provider) list(ctx context.Context, q url.Values) ([]*serverView, error) {
	var out []*serverView
	for {
		var page struct {
			Servers []*serverView `json:"servers"`
			Links   []any         `json:"servers_links"`
		}
		if err := get(ctx, o.cloud.compute, q, &page, "servers", "detail"); err != nil {
			return nil, o.cloud.fail(ctx, "list servers", err)
		}
		out = append(out, page.Servers...)
		if len(page.Links) == 0 || len(page.Servers) == 0 {
			return out, nil
		}
		q.Set("marker", page.Servers[len(page.Servers)-1].ID)
	}
}

// listAll is the one request behind all waiting.
func (o *provider) listAll(ctx context.Context) (map[string]*serverView, error) {
	all, err := o.list(ctx, url.Values{"tags": {tagAll}})
	out := make(map[string]*serverView, len(all))
	for _, v := range all {
		out[v.ID] = v
	}
	return out, err
}

func serversChanged(a, b map[string]*serverView) bool {
	if len(a) != len(b) {
		return true
	}
	for id, v := range b {
		if w := a[id]; w == nil || w.Status != v.Status || w.Task != v.Task {
			return true
		}
	}
	return false
}

// ownedServers finds the servers of an owner: by tags, and by name for those that are so young
// that Nova does not filter them by tags yet.
func (o *provider) ownedServers(ctx context.Context, owner backends.Owner) ([]*serverView, error) {
	byTags := url.Values{"tags": {tagAll + "," + tag(keyRun, owner.Run)}}
	byName := url.Values{"name": {"^" + runPrefix(owner.Run)}}
	found := map[string]*serverView{}
	for _, q := range []url.Values{byTags, byName} {
		list, err := o.list(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, v := range list {
			if belongs(owner, v.Tags, v.Metadata) {
				found[v.ID] = v
			}
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b *serverView) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Created, b.Created), strings.Compare(a.ID, b.ID))
	}), nil
}

// atOnce is how many requests that make or remove something are under way: Nova's API works
// on them one after the other anyway.
const atOnce = 8

// makeServers asks for the servers of a fleet that are not there yet.
func (o *provider) makeServers(ctx, stop context.Context, f *fleet, jobs []*job) error {
	leave, err := o.keys.Enter(stop, f.Owner.Run)
	if err != nil {
		return err
	}
	if err = o.ensureKeypair(ctx, f, jobs[0].login); err == nil {
		err = o.ensureRunNetwork(ctx, f, jobs)
	}
	leave()
	if err != nil {
		return err
	}
	if err := o.takeFloating(ctx, stop, f, jobs); err != nil {
		return err
	}
	there, err := o.ownedServers(ctx, f.Owner)
	if err != nil {
		return err
	}
	hint, err := o.hint(ctx, f)
	if err != nil {
		return err
	}
	g, gstop := errgroup.WithContext(stop)
	g.SetLimit(inTurn(hint))
	for _, j := range jobs {
		if i := slices.IndexFunc(there, func(v *serverView) bool { return v.Name == j.name }); i >= 0 {
			v := there[i]
			if v.Task == "deleting" {
				return errors.Join(g.Wait(), backends.Errorf(backends.Infra, "server "+j.name, "an older one of this name is still being deleted"))
			}
			j.id = v.ID
			if err := f.Ledger.Made(ctx, f.Owner, v.object()); err != nil {
				return errors.Join(g.Wait(), err)
			}
			continue
		}
		g.Go(func() error {
			if gstop.Err() != nil {
				return context.Cause(gstop)
			}
			hint := hint
			if j.metal {
				hint = nil
			}
			err := o.makeServer(ctx, f, j, hint)
			if err == nil && hint != nil {
				err = o.placed(gstop, j)
			}
			return err
		})
	}
	return g.Wait()
}

// makeServer asks for one server, once.
func (o *provider) makeServer(ctx context.Context, f *fleet, j *job, hint servers.SchedulerHintOptsBuilder) error {
	op := "create server " + j.name
	data, err := userData(j.host, j.login)
	if err != nil {
		return backends.Errorf(backends.Internal, op, "%w", err)
	}
	obj := backends.Object{Kind: "server", Name: j.name}
	if err := f.Ledger.Intend(ctx, f.Owner, obj); err != nil {
		return err
	}
	opts := servers.CreateOpts{Name: j.name, FlavorRef: j.flavor, ImageRef: j.image, AvailabilityZone: j.spec.Zone, Networks: "auto",
		UserData: data, Tags: tags(f.Owner, f.Until), Metadata: labels(f.Owner, j.machine, f.Until)}
	if j.network != "" {
		opts.Networks = []servers.Network{{UUID: j.network}}
	}
	if j.group != "" {
		opts.SecurityGroups = []string{j.group}
	}
	s, err := servers.Create(ctx, o.cloud.compute, keypairs.CreateOptsExt{CreateOptsBuilder: opts, KeyName: keypairName(f.Owner.Run)}, hint).Extract()
	err = o.cloud.fail(ctx, op, err)
	switch {
	case err == nil:
		j.id = s.ID
	case backends.ClassOf(err) == backends.Transport:
		// It may have arrived: look instead of asking again.
		there, lerr := o.ownedServers(ctx, f.Owner)
		i := slices.IndexFunc(there, func(v *serverView) bool { return v.Name == j.name })
		if lerr != nil || i < 0 {
			return err
		}
		j.id = there[i].ID
	case strings.Contains(err.Error(), "Invalid key_name"):
		// Somebody removed the keypair under us; the next Provision makes it again.
		o.setPaired(f.Owner.Run, false)
		return &backends.Error{Class: backends.Infra, Op: op, Err: err}
	case j.group != "" && strings.Contains(err.Error(), "not found"), j.group != "" && strings.Contains(err.Error(), "could not be found"):
		o.setRunNet(f.Owner.Run, nil) // likewise
		return &backends.Error{Class: backends.Infra, Op: op, Err: err}
	default:
		return err
	}
	obj.ID = j.id
	return f.Ledger.Made(ctx, f.Owner, obj)
}

// awaitServers waits until the servers of a fleet are up, and hands each on as soon as it is.
func (o *provider) awaitServers(ctx context.Context, f *fleet, up func(*job)) error {
	open := map[string]*job{}
	for _, j := range f.of("nova") {
		open[j.id] = j
	}
	if len(open) == 0 {
		return nil
	}
	began := time.Now()
	return o.servers.wait(ctx, func(seen map[string]*serverView) (bool, error) {
		for id, j := range open {
			v := seen[id]
			if v == nil {
				// Too young for the list, or gone: the record itself knows.
				var err error
				if v, err = o.server(ctx, id); err != nil {
					return false, err
				}
				if v == nil {
					return false, backends.Errorf(backends.Infra, "server "+j.name, "it vanished while it was built")
				}
			}
			switch {
			case v.Status == "ERROR":
				return false, o.bootError(ctx, v)
			case v.Task == "deleting":
				return false, backends.Errorf(backends.Infra, "server "+j.name, "somebody deletes it")
			case v.Status == "ACTIVE":
				j.address, j.where = v.address(), v.host()
				if j.address == "" {
					return false, backends.Errorf(backends.Infra, "server "+j.name, "it is up and has no address")
				}
				j.facts = v.facts(j)
				delete(open, id)
				up(j)
			case time.Since(began) > o.p.Boot:
				return false, backends.Errorf(backends.Infra, "server "+j.name, "it is in state %s since %v", v.Status, o.p.Boot)
			}
		}
		return len(open) == 0, nil
	})
}

// server gives one server's record, or nil.
func (o *provider) server(ctx context.Context, id string) (*serverView, error) {
	var out struct {
		Server *serverView `json:"server"`
	}
	err := get(ctx, o.cloud.compute, nil, &out, "servers", id)
	if err = o.cloud.fail(ctx, "show server "+id, err); err != nil {
		if notFound(err) {
			return nil, nil
		}
		return nil, err
	}
	return out.Server, nil
}

// facts are what the cloud says that the machine is.
func (v *serverView) facts(j *job) map[string]string {
	out := map[string]string{"service": "nova", "flavor": v.Flavor.Name, "vcpus": strconv.Itoa(v.Flavor.VCPUs), "memoryMiB": strconv.Itoa(v.Flavor.RAM),
		"image": j.spec.Image, "imageID": j.image, "zone": v.Zone, "created": v.Created}
	if j.spec.Network != "" {
		out["network"] = j.spec.Network
	}
	for k, m := range v.Metadata {
		if !strings.HasPrefix(k, "dlx-") {
			out["metadata."+k] = m
		}
	}
	return out
}

// consoleTime bounds asking for the console log, which explains an error and is not one.
const consoleTime = 2 * time.Minute

// deleteTries is how often a server that falls into ERROR while it is deleted is deleted again.
const deleteTries = 3

// releaseServers deletes the servers of an owner and sees them gone.
func (o *provider) releaseServers(ctx context.Context, owner backends.Owner, l backends.Ledger) error {
	for {
		left, err := o.ownedServers(ctx, owner)
		if err != nil || len(left) == 0 {
			return err
		}
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(atOnce)
		for _, v := range left {
			g.Go(func() error { return o.deleteServer(gctx, v) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
		if err := o.seeGone(ctx, owner, left, l); err != nil {
			return err
		}
	}
}

func (o *provider) deleteServer(ctx context.Context, v *serverView) error {
	err := servers.Delete(ctx, o.cloud.compute, v.ID).ExtractErr()
	if err = o.cloud.fail(ctx, "delete server "+v.Name, err); notFound(err) || conflict(err) {
		return nil // gone, or a task that runs is in the way: seeGone asks again
	}
	return err
}

// seeGone waits until none of the servers is left, telling the ledger of each.
func (o *provider) seeGone(ctx context.Context, owner backends.Owner, left []*serverView, l backends.Ledger) error {
	open, tries := map[string]*serverView{}, map[string]int{}
	for _, v := range left {
		open[v.ID] = v
	}
	return o.servers.wait(ctx, func(seen map[string]*serverView) (bool, error) {
		for id, old := range open {
			v := seen[id]
			if v == nil {
				var err error
				if v, err = o.server(ctx, id); err != nil {
					return false, err
				}
				if v == nil || v.Status == "DELETED" || v.Status == "SOFT_DELETED" {
					of := owner
					if of.Fleet == "" {
						of.Fleet = old.Metadata[keyFleet]
					}
					if err := l.Gone(ctx, of, old.object()); err != nil {
						return false, err
					}
					delete(open, id)
					continue
				}
			}
			if v.Task == "" { // nobody deletes it: it failed, or the request met another task
				if tries[id]++; tries[id] > deleteTries {
					return false, backends.Errorf(backends.Infra, "delete server "+v.Name, "it is still there in state %s: %s", v.Status, o.cloud.redact(clip(v.Fault.Message)))
				}
				if err := o.deleteServer(ctx, v); err != nil {
					return false, err
				}
			}
		}
		return len(open) == 0, nil
	})
}
