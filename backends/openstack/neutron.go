package openstack

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"golang.org/x/sync/errgroup"

	"dlx.dev/dlx/backends"
)

// What dlx makes of Neutron's. It takes tags only when something is there already: until then, and
// for those who read, the description says the same.

// netKind is a kind of such objects.
type netKind struct {
	kind string // in the ledger
	path string
	one  string // key of one in JSON; of many it is that with an s
}

var (
	floatingIP    = &netKind{"floatingip", "floatingips", "floatingip"}
	router        = &netKind{"router", "routers", "router"}
	subnet        = &netKind{"subnet", "subnets", "subnet"}
	network       = &netKind{"network", "networks", "network"}
	securityGroup = &netKind{"securitygroup", "security-groups", "security_group"}
)

// netKinds are all, in the order in which they can be removed.
var netKinds = []*netKind{floatingIP, router, subnet, network, securityGroup}

// netView is the part of a record of Neutron's that is used.
type netView struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Tags        []string `json:"tags"`
	Address     string   `json:"floating_ip_address"`
	Port        string   `json:"port_id"`
}

// describe is what the description of an object says: its tags, whole.
func describe(owner backends.Owner, machine string, until time.Time) string {
	words := []string{tagAll}
	all := labels(owner, machine, until)
	for _, k := range []string{keyRun, keyFleet, keyName, keyUntil} {
		if all[k] != "" {
			words = append(words, k+"="+all[k])
		}
	}
	return strings.Join(words, ",")
}

// labels are what the description says.
func (v *netView) labels() map[string]string {
	out := map[string]string{}
	words := strings.Split(v.Description, ",")
	if words[0] != tagAll {
		return out
	}
	for _, w := range words[1:] {
		if key, value, ok := strings.Cut(w, "="); ok {
			out[key] = value
		}
	}
	return out
}

// object names what has no name, as floating IPs, for the machine that it belongs to.
func (v *netView) object(k *netKind) backends.Object {
	obj := backends.Object{Kind: k.kind, Name: v.Name, ID: v.ID}
	if obj.Name == "" {
		l, _ := marked(v.Tags, v.labels())
		obj.Name = machineName(l.Owner, v.labels()[keyName])
	}
	return obj
}

// ask sends a request that changes something of Neutron's.
func (c *cloud) ask(ctx context.Context, method string, body, into any, path ...string) error {
	opts := &gophercloud.RequestOpts{OkCodes: []int{http.StatusOK, http.StatusCreated, http.StatusNoContent}}
	if body != nil {
		opts.JSONBody = body
	}
	if into != nil {
		opts.JSONResponse = into
	}
	_, err := c.network.Request(ctx, method, c.network.ServiceURL(path...), opts) //nolint:bodyclose // the SDK closes it
	return err
}

// nets lists all of a kind that the project has, page after page. Where the cloud does not know the kind,
// or lets us see none, nothing could have been made.
func (o *provider) nets(ctx context.Context, k *netKind) ([]*netView, error) {
	var out []*netView
	q := url.Values{}
	if p := o.cloud.project(); p != "" { // an administrator sees all projects
		q.Set("project_id", p)
	}
	for {
		var page map[string]json.RawMessage
		err := get(ctx, o.cloud.network, q, &page, k.path)
		err = o.cloud.fail(ctx, "list "+k.path, err)
		if r := refusalOf(err); r != nil && (r.status == http.StatusNotFound || r.status == http.StatusForbidden) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
		var list []*netView
		if err := json.Unmarshal(page[k.one+"s"], &list); err != nil {
			return nil, backends.Errorf(backends.Infra, "list "+k.path, "%w", err)
		}
		out = append(out, list...)
		if !strings.Contains(string(page[k.one+"s_links"]), `"next"`) || len(list) == 0 {
			return out, nil
		}
		q.Set("marker", list[len(list)-1].ID)
	}
}

// ownedNets are those of an owner, by name.
func (o *provider) ownedNets(ctx context.Context, k *netKind, owner backends.Owner) ([]*netView, error) {
	all, err := o.nets(ctx, k)
	all = slices.DeleteFunc(all, func(v *netView) bool { return !belongs(owner, v.Tags, v.labels()) })
	slices.SortStableFunc(all, func(a, b *netView) int { return strings.Compare(a.object(k).Name+a.ID, b.object(k).Name+b.ID) })
	return all, err
}

// allOwnedNets lists what of Neutron's an owner has: of a fleet its floating IPs, and of a run all.
func (o *provider) allOwnedNets(ctx context.Context, owner backends.Owner) ([]backends.Object, error) {
	lists := make([][]backends.Object, len(netKinds))
	g, gctx := errgroup.WithContext(ctx)
	for i, k := range netKinds {
		g.Go(func() error {
			all, err := o.ownedNets(gctx, k, owner)
			for _, v := range all {
				lists[i] = append(lists[i], v.object(k))
			}
			return err
		})
	}
	err := g.Wait()
	return slices.Concat(lists...), err
}

func (o *provider) leftNets(ctx context.Context) ([]backends.Leftover, error) {
	lists := make([][]backends.Leftover, len(netKinds))
	g, gctx := errgroup.WithContext(ctx)
	for i, k := range netKinds {
		g.Go(func() error {
			all, err := o.nets(gctx, k)
			for _, v := range all {
				if l, ok := marked(v.Tags, v.labels()); ok {
					l.Object = v.object(k)
					lists[i] = append(lists[i], l)
				}
			}
			return err
		})
	}
	err := g.Wait()
	return slices.Concat(lists...), err
}

// made says for whom something is made.
type made struct {
	backends.Ledger
	owner   backends.Owner
	machine string // empty: it is no machine's
	until   time.Time
}

// ensureNet makes an object unless one of its name is among those that are there.
func (o *provider) ensureNet(ctx context.Context, of *made, k *netKind, there []*netView, name string, body map[string]any) (*netView, error) {
	find := func(list []*netView) *netView {
		if i := slices.IndexFunc(list, func(v *netView) bool { return v.object(k).Name == name }); i >= 0 {
			return list[i]
		}
		return nil
	}
	v := find(there)
	if v == nil {
		if err := of.Intend(ctx, of.owner, backends.Object{Kind: k.kind, Name: name}); err != nil {
			return nil, err
		}
		body["description"] = describe(of.owner, of.machine, of.until)
		out := map[string]*netView{}
		err := o.cloud.ask(ctx, http.MethodPost, map[string]any{k.one: body}, &out, k.path)
		v = out[k.one]
		if err = o.cloud.fail(ctx, "create "+k.kind+" "+name, err); backends.ClassOf(err) == backends.Transport {
			// It may have arrived: look instead of asking again.
			if again, lerr := o.ownedNets(ctx, k, of.owner); lerr == nil && find(again) != nil {
				v, err = find(again), nil
			}
		}
		if err != nil {
			return nil, err
		}
	}
	if err := of.Made(ctx, of.owner, v.object(k)); err != nil {
		return nil, err
	}
	return v, o.tagNet(ctx, k, v, tags(of.owner, of.until))
}

// tagNet gives an object its tags, unless it has them. A cloud that takes none has the description.
func (o *provider) tagNet(ctx context.Context, k *netKind, v *netView, tags []string) error {
	if slices.Contains(v.Tags, tagAll) {
		return nil
	}
	err := o.cloud.ask(ctx, http.MethodPut, map[string]any{"tags": tags}, nil, k.path, v.ID, "tags")
	if err = o.cloud.fail(ctx, "tag "+k.kind+" "+v.object(k).Name, err); unreadable(err) {
		return nil
	}
	return err
}

// netPatience is how long something of Neutron's may be in use by what is removed at the same time:
// ports of servers go within seconds of them, those of DHCP within a minute.
const netPatience = 10 * time.Minute

// removeNets removes all of a kind that an owner has, and sees it gone. before does what has to be done
// first; nil: nothing.
func (o *provider) removeNets(ctx context.Context, k *netKind, owner backends.Owner, l backends.Ledger, before func(context.Context, *netView) error) error {
	open := map[string]*netView{}
	pause, began := o.p.PollMin, time.Now()
	for {
		left, err := o.ownedNets(ctx, k, owner)
		if err != nil {
			return err
		}
		for id, v := range open {
			if !slices.ContainsFunc(left, func(v *netView) bool { return v.ID == id }) {
				of := owner
				if of.Fleet == "" {
					of.Fleet = v.labels()[keyFleet]
				}
				if err := l.Gone(ctx, of, v.object(k)); err != nil {
					return err
				}
				delete(open, id)
			}
		}
		if len(left) == 0 {
			return nil
		}
		var inUse error
		for _, v := range left {
			again := open[v.ID] != nil
			open[v.ID] = v
			switch err := o.removeNet(ctx, k, v, before); {
			case conflict(err):
				inUse = err
			case err != nil:
				return err
			case again:
				inUse = backends.Errorf(backends.Infra, "delete "+k.kind+" "+v.object(k).Name, "it is still there")
			}
		}
		if inUse == nil {
			continue
		}
		if time.Since(began) > netPatience {
			return inUse
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		pause = min(2*pause, o.p.PollMax)
	}
}

func (o *provider) removeNet(ctx context.Context, k *netKind, v *netView, before func(context.Context, *netView) error) error {
	if before != nil {
		if err := before(ctx, v); err != nil {
			return err
		}
	}
	err := o.cloud.ask(ctx, http.MethodDelete, nil, nil, k.path, v.ID)
	if err = o.cloud.fail(ctx, "delete "+k.kind+" "+v.object(k).Name, err); notFound(err) {
		return nil
	}
	return err
}

// portsOf lists the ports of a server or router.
func (o *provider) portsOf(ctx context.Context, device string) ([]portView, error) {
	var out struct {
		Ports []portView `json:"ports"`
	}
	err := get(ctx, o.cloud.network, url.Values{"device_id": {device}}, &out, "ports")
	return out.Ports, o.cloud.fail(ctx, "list ports of "+device, err)
}

// portView is the part of a port's record that is used.
type portView struct {
	ID       string    `json:"id"`
	FixedIPs []fixedIP `json:"fixed_ips"`
}

type fixedIP struct {
	Subnet  string `json:"subnet_id"`
	Address string `json:"ip_address"`
}
