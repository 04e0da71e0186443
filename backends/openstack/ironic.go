package openstack

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/allocations"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/nodes"
	"golang.org/x/sync/errgroup"

	"dlx.dev/dlx/backends"
)

// A machine of Ironic is an allocation, which is what dlx makes and owns, and the node that it
// holds. Tearing the node down ends the allocation too; cleaning goes on afterwards, and the class
// has no room until it is over.

type allocationView struct {
	ID        string            `json:"uuid"`
	Name      string            `json:"name"`
	State     string            `json:"state"`
	Node      string            `json:"node_uuid"`
	LastError string            `json:"last_error"`
	Extra     map[string]string `json:"extra"`
}

func (a *allocationView) object() backends.Object {
	return backends.Object{Kind: "allocation", Name: a.Name, ID: a.ID}
}

type nodeView struct {
	ID        string         `json:"uuid"`
	Name      string         `json:"name"`
	State     string         `json:"provision_state"`
	Instance  string         `json:"instance_uuid"`
	Class     string         `json:"resource_class"`
	LastError string         `json:"last_error"`
	Extra     map[string]any `json:"extra"`
	Info      map[string]any `json:"instance_info"`

	// Properties are what the operator, or inspection, says of the hardware.
	Properties map[string]any `json:"properties"`
}

// facts are what the cloud says that the machine is.
func (n *nodeView) facts(j *job) map[string]string {
	out := map[string]string{"service": "ironic", "resourceClass": n.Class, "node": n.Name, "image": j.spec.Image, "imageID": j.image}
	for k, v := range n.Properties {
		switch v := v.(type) { // 8 and "8" are both in use
		case string:
			out["properties."+k] = v
		case float64:
			out["properties."+k] = strconv.FormatFloat(v, 'f', -1, 64)
		}
	}
	return out
}

// nodeFields are those of nodeView, and the owner: Ironic checks who may see last_error against what it
// shows of a node, and hides it from the owner of a node whose owner was not asked for.
const nodeFields = "uuid,name,provision_state,instance_uuid,resource_class,last_error,extra,instance_info,properties,owner"

// metalView is one look at Ironic.
type metalView struct {
	allocations map[string]*allocationView
	nodes       map[string]*nodeView
}

func (o *provider) listMetal(ctx context.Context) (metalView, error) {
	v := metalView{map[string]*allocationView{}, map[string]*nodeView{}}
	all, err := o.listAllocations(ctx)
	if err != nil {
		return v, err
	}
	for _, a := range all {
		v.allocations[a.ID] = a
	}
	for marker := ""; ; {
		var page struct {
			Nodes []*nodeView `json:"nodes"`
			Next  string      `json:"next"`
		}
		q := url.Values{"associated": {"True"}, "fields": {nodeFields}}
		if marker != "" {
			q.Set("marker", marker)
		}
		if err := get(ctx, o.cloud.metal, q, &page, "nodes"); err != nil {
			return v, o.cloud.fail(ctx, "list nodes", err)
		}
		for _, n := range page.Nodes {
			v.nodes[n.ID] = n
			marker = n.ID
		}
		if page.Next == "" || len(page.Nodes) == 0 {
			return v, nil
		}
	}
}

func (o *provider) listAllocations(ctx context.Context) ([]*allocationView, error) {
	var out []*allocationView
	for marker := ""; ; {
		var page struct {
			Allocations []*allocationView `json:"allocations"`
			Next        string            `json:"next"`
		}
		q := url.Values{}
		if marker != "" {
			q.Set("marker", marker)
		}
		if err := get(ctx, o.cloud.metal, q, &page, "allocations"); err != nil {
			return nil, o.cloud.fail(ctx, "list allocations", err)
		}
		out = append(out, page.Allocations...)
		if page.Next == "" || len(page.Allocations) == 0 {
			return out, nil
		}
		marker = page.Allocations[len(page.Allocations)-1].ID
	}
}

func metalChanged(a, b metalView) bool {
	if len(a.allocations) != len(b.allocations) || len(a.nodes) != len(b.nodes) {
		return true
	}
	for id, v := range b.allocations {
		if w := a.allocations[id]; w == nil || w.State != v.State {
			return true
		}
	}
	for id, v := range b.nodes {
		if w := a.nodes[id]; w == nil || w.State != v.State {
			return true
		}
	}
	return false
}

// ownedAllocations finds an owner's allocations.
func (o *provider) ownedAllocations(ctx context.Context, owner backends.Owner) ([]*allocationView, error) {
	all, err := o.allocations(ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(a *allocationView) bool { return !belongs(owner, nil, a.Extra) })
	slices.SortFunc(all, func(a, b *allocationView) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID))
	})
	return all, nil
}

// makeAllocations asks for the nodes of a fleet that are not there yet.
func (o *provider) makeAllocations(ctx, stop context.Context, f *fleet, jobs []*job) error {
	there, err := o.ownedAllocations(ctx, f.Owner)
	if err != nil {
		return err
	}
	g, gstop := errgroup.WithContext(stop)
	g.SetLimit(atOnce)
	for _, j := range jobs {
		if i := slices.IndexFunc(there, func(a *allocationView) bool { return a.Name == j.name }); i >= 0 {
			j.id = there[i].ID
			continue
		}
		g.Go(func() error {
			if gstop.Err() != nil {
				return context.Cause(gstop)
			}
			return o.makeAllocation(ctx, f, j)
		})
	}
	return g.Wait()
}

// makeAllocation asks for one. The name is unique in Ironic: asking twice is a conflict.
func (o *provider) makeAllocation(ctx context.Context, f *fleet, j *job) error {
	obj := backends.Object{Kind: "allocation", Name: j.name}
	if err := f.Ledger.Intend(ctx, f.Owner, obj); err != nil {
		return err
	}
	a, err := allocations.Create(ctx, o.cloud.metal, allocations.CreateOpts{Name: j.name, ResourceClass: j.spec.ResourceClass,
		Extra: labels(f.Owner, j.machine, f.Until)}).Extract()
	err = o.cloud.fail(ctx, "create allocation "+j.name, err)
	switch {
	case err == nil:
		j.id = a.UUID
	case conflict(err), backends.ClassOf(err) == backends.Transport:
		there, lerr := o.ownedAllocations(ctx, f.Owner)
		i := slices.IndexFunc(there, func(v *allocationView) bool { return v.Name == j.name })
		if lerr != nil || i < 0 {
			return err
		}
		j.id = there[i].ID
	default:
		return err
	}
	obj.ID = j.id
	return f.Ledger.Made(ctx, f.Owner, obj)
}

// awaitNodes brings the nodes of a fleet from allocated to active. What a dead process began is
// gone on with from the state it is in.
func (o *provider) awaitNodes(ctx context.Context, f *fleet, up func(*job)) error {
	open, asked := map[string]*job{}, map[string]bool{}
	for _, j := range f.of("ironic") {
		open[j.id] = j
	}
	if len(open) == 0 {
		return nil
	}
	began := time.Now()
	return o.metal.wait(ctx, func(seen metalView) (bool, error) {
		for id, j := range open {
			a := seen.allocations[id]
			var n *nodeView
			if a != nil {
				n = seen.nodes[a.Node]
			}
			switch {
			case a == nil:
				return false, backends.Errorf(backends.Infra, "allocation "+j.name, "it vanished")
			case a.State == "error":
				return false, backends.Errorf(faultClass(a.LastError), "allocation "+j.name, "%s", o.cloud.redact(clip(a.LastError)))
			case a.State != "active" || n == nil:
			case strings.HasSuffix(n.State, "failed") || n.State == "error":
				return false, backends.Errorf(faultClass(n.LastError), "node "+n.Name+" of "+j.name, "it is in state %q: %s", n.State, o.cloud.redact(clip(n.LastError)))
			case n.State == "available" && !asked[id]:
				switch err := o.deploy(ctx, f, j, n); {
				case err == nil:
					asked[id] = true
				case !conflict(err) && !overtaken(err): // a locked node is asked again, another state is seen at the next look
					return false, err
				}
			case n.State == "active":
				address, _ := n.Extra["address"].(string)
				if address == "" {
					return false, backends.Errorf(backends.Config, "node "+n.Name+" of "+j.name, `it has no extra["address"], from which its address is read`)
				}
				j.address, j.where = address, n.ID
				j.facts = n.facts(j)
				delete(open, id)
				up(j)
				continue
			}
			if time.Since(began) > o.p.Boot {
				return false, backends.Errorf(backends.Infra, "allocation "+j.name, "it is not deployed since %v", o.p.Boot)
			}
		}
		return len(open) == 0, nil
	})
}

// What deploy writes into a node's record: the image, and the name of what it becomes.
const (
	infoPath  = "/instance_info/"
	infoImage = "image_source"
	infoName  = "display_name"
)

// deploy puts the image onto an allocated node.
func (o *provider) deploy(ctx context.Context, f *fleet, j *job, n *nodeView) error {
	op := "deploy node " + n.Name + " for " + j.name
	data, err := userData(j.host, j.login)
	if err != nil {
		return backends.Errorf(backends.Internal, op, "%w", err)
	}
	_, err = nodes.Update(ctx, o.cloud.metal, n.ID, nodes.UpdateOpts{
		nodes.UpdateOperation{Op: nodes.AddOp, Path: infoPath + infoImage, Value: j.image},
		nodes.UpdateOperation{Op: nodes.AddOp, Path: infoPath + infoName, Value: j.name},
	}).Extract()
	if err == nil {
		err = nodes.ChangeProvisionState(ctx, o.cloud.metal, n.ID, nodes.ProvisionStateOpts{Target: nodes.TargetActive, ConfigDrive: nodes.ConfigDrive{
			MetaData: map[string]any{"uuid": j.id, "name": j.name, "hostname": j.name, "public_keys": map[string]string{keypairName(f.Owner.Run): string(j.login.public)}},
			UserData: string(data),
		}}).ExtractErr()
	}
	return o.cloud.fail(ctx, op, err)
}

// releaseNodes tears an owner's nodes down and sees the allocations gone.
func (o *provider) releaseNodes(ctx context.Context, owner backends.Owner, l backends.Ledger) error {
	left, err := o.ownedAllocations(ctx, owner)
	if err != nil || len(left) == 0 {
		return err
	}
	open, refused := map[string]*allocationView{}, map[string]int{}
	held := map[string]string{} // nodes on their way back, with the names of what they were
	for _, a := range left {
		open[a.ID] = a
		if a.Node != "" {
			held[a.Node] = a.Name
		}
	}
	var mu sync.Mutex // of refused
	err = o.metal.wait(ctx, func(seen metalView) (bool, error) {
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(atOnce)
		for id, old := range open {
			if seen.allocations[id] == nil {
				of := owner
				if of.Fleet == "" {
					of.Fleet = old.Extra[keyFleet]
				}
				if err := l.Gone(ctx, of, old.object()); err != nil {
					return false, errors.Join(g.Wait(), err)
				}
				delete(open, id)
				continue
			}
			n := seen.nodes[seen.allocations[id].Node]
			g.Go(func() error {
				err := o.letGo(gctx, old, n)
				if r := refusalOf(err); r == nil || r.status >= http.StatusInternalServerError {
					return err
				}
				// A node that is locked, or in another state than when it was seen, is asked
				// again at the next look.
				mu.Lock()
				defer mu.Unlock()
				if refused[id]++; refused[id] > releaseTries {
					return err
				}
				return nil
			})
		}
		return len(open) == 0, g.Wait()
	})
	if err != nil {
		return err
	}
	return o.seeClean(ctx, held)
}

// releaseTries is how many looks may find a node that does not let itself be torn down: locks
// of Ironic pass within its lock retries and a step of a deployment, minutes at most.
const releaseTries = 60

// letGo asks for the next step on the way of a node out of our hands.
func (o *provider) letGo(ctx context.Context, a *allocationView, n *nodeView) error {
	switch {
	case n != nil && slices.Contains([]string{"active", "deploy failed", "error", "wait call-back", "rescue failed"}, n.State):
		err := nodes.ChangeProvisionState(ctx, o.cloud.metal, n.ID, nodes.ProvisionStateOpts{Target: nodes.TargetDeleted}).ExtractErr()
		return o.cloud.fail(ctx, "tear down node "+n.Name+" of "+a.Name, err)
	case n != nil && n.State != "available": // on its way
		return nil
	case n != nil: // a dlx may have died between the two requests of deploy
		if err := o.unname(ctx, a, n); err != nil {
			return err
		}
	}
	return o.cloud.fail(ctx, "delete allocation "+a.Name, allocations.Delete(ctx, o.cloud.metal, a.ID).ExtractErr())
}

// unname takes out of the record of a node that was not deployed what deploy wrote there: tearing down
// clears it, the end of an allocation alone does not.
func (o *provider) unname(ctx context.Context, a *allocationView, n *nodeView) error {
	var ops nodes.UpdateOpts
	for _, key := range []string{infoImage, infoName} {
		if _, ok := n.Info[key]; ok {
			ops = append(ops, nodes.UpdateOperation{Op: nodes.RemoveOp, Path: infoPath + key})
		}
	}
	if len(ops) == 0 {
		return nil
	}
	_, err := nodes.Update(ctx, o.cloud.metal, n.ID, ops).Extract()
	return o.cloud.fail(ctx, "clear node "+n.Name+" of "+a.Name, err)
}
