package openstack

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/keypairs"
	"golang.org/x/sync/errgroup"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/internal/leftovers"
)

var _ backends.Collector = (*provider)(nil)

// Leftovers lists what all runs left in the project. Keypairs, which have no tags, carry theirs as
// the comment of the key. Server groups have nothing but their names: they count where something
// else of their run is there, as the keypair is until they are gone.
func (o *provider) Leftovers(ctx context.Context) ([]backends.Leftover, error) {
	var lists [5][]backends.Leftover
	g, gctx := errgroup.WithContext(ctx)
	for i, list := range []func(context.Context) ([]backends.Leftover, error){o.leftServers, o.leftAllocations, o.leftClusters, o.leftKeypairs, o.leftNets} {
		g.Go(func() (err error) {
			lists[i], err = list(gctx)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var out []backends.Leftover
	for _, l := range lists {
		out = append(out, l...)
	}
	named, err := o.leftGroups(ctx, out)
	if err != nil {
		return nil, err
	}
	return leftovers.Complete(append(out, named...)), nil
}

// marked reads whose an object is and until when, out of its tags and labels.
func marked(tagged []string, labelled map[string]string) (l backends.Leftover, ok bool) {
	all := map[string]string{}
	for _, t := range tagged {
		if k, v, ok := strings.Cut(t, "="); ok {
			all[k] = v
		}
	}
	for k, v := range labelled { // whole, where a tag may be cut
		all[k] = v
	}
	l.Owner = backends.Owner{Run: all[keyRun], Fleet: all[keyFleet]}
	if s, err := strconv.ParseInt(all[keyUntil], 10, 64); err == nil {
		l.Until = time.Unix(s, 0)
	}
	return l, checkOwner(l.Owner, false) == nil
}

func (o *provider) leftServers(ctx context.Context) ([]backends.Leftover, error) {
	var out []backends.Leftover
	seen := map[string]bool{}
	// By name as well: the young are not filtered by tags yet.
	for _, q := range []url.Values{{"tags": {tagAll}}, {"name": {"^dlx-"}}} {
		list, err := o.list(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, v := range list {
			if l, ok := marked(v.Tags, v.Metadata); ok && !seen[v.ID] {
				seen[v.ID] = true
				l.Object = v.object()
				out = append(out, l)
			}
		}
	}
	return out, nil
}

func (o *provider) leftAllocations(ctx context.Context) ([]backends.Leftover, error) {
	all, err := o.allocations(ctx)
	var out []backends.Leftover
	for _, a := range all {
		if l, ok := marked(nil, a.Extra); ok {
			l.Object = a.object()
			out = append(out, l)
		}
	}
	return out, err
}

func (o *provider) leftClusters(ctx context.Context) ([]backends.Leftover, error) {
	all, err := o.listClusters(ctx)
	var out []backends.Leftover
	for _, v := range all {
		if l, ok := marked(nil, v.Labels); ok {
			l.Object = v.object()
			out = append(out, l)
		}
	}
	return out, err
}

// keyComment is what a keypair says of its run, behind the key itself.
func keyComment(run string, until time.Time) string {
	return strings.Join(tags(backends.Owner{Run: run}, until), ",")
}

func (o *provider) leftKeypairs(ctx context.Context) ([]backends.Leftover, error) {
	all, err := o.keypairs(ctx)
	var out []backends.Leftover
	for _, k := range all {
		words := strings.Fields(k.PublicKey)
		if len(words) < 3 {
			continue
		}
		if l, ok := marked(strings.Split(words[2], ","), nil); ok && k.Name == keypairName(l.Owner.Run) {
			l.Object = backends.Object{Kind: "keypair", Name: k.Name, ID: k.Name}
			l.Owner.Fleet = ""
			out = append(out, l)
		}
	}
	return out, err
}

// keypairs lists those of this user, page after page.
func (o *provider) keypairs(ctx context.Context) ([]keypairs.KeyPair, error) {
	var out []keypairs.KeyPair
	for marker := ""; ; {
		var page struct {
			Keypairs []struct {
				Keypair keypairs.KeyPair `json:"keypair"`
			} `json:"keypairs"`
			Links []any `json:"keypairs_links"`
		}
		q := url.Values{}
		if marker != "" {
			q.Set("marker", marker)
		}
		if err := get(ctx, o.cloud.compute, q, &page, "os-keypairs"); err != nil {
			return nil, o.cloud.fail(ctx, "list keypairs", err)
		}
		for _, k := range page.Keypairs {
			out = append(out, k.Keypair)
			marker = k.Keypair.Name
		}
		if len(page.Links) == 0 || len(page.Keypairs) == 0 {
			return out, nil
		}
	}
}

// leftGroups finds the server groups that are named for runs of which others are there.
func (o *provider) leftGroups(ctx context.Context, others []backends.Leftover) ([]backends.Leftover, error) {
	var out []backends.Leftover
	for run := range runsOf(others) {
		groups, err := o.groups(ctx, backends.Owner{Run: run})
		if err != nil {
			return nil, err
		}
		for _, g := range groups {
			of := backends.Owner{Run: run}
			of.Fleet, _ = ofOwner(g.Name, of)
			out = append(out, backends.Leftover{Owner: of, Object: backends.Object{Kind: "servergroup", Name: g.Name, ID: g.ID}})
		}
	}
	return out, nil
}

func runsOf(list []backends.Leftover) map[string]bool {
	out := map[string]bool{}
	for _, l := range list {
		out[l.Owner.Run] = true
	}
	return out
}

// allocations lists all there are. A cloud without Ironic, or whose Ironic does not talk to us,
// holds none: nothing could have been made there.
func (o *provider) allocations(ctx context.Context) ([]*allocationView, error) {
	if o.cloud.metal == nil {
		return nil, nil
	}
	all, err := o.listAllocations(ctx)
	if r := refusalOf(err); r != nil && (r.status == http.StatusForbidden || r.status == http.StatusNotFound || r.status == http.StatusNotAcceptable) {
		return nil, nil
	}
	return all, err
}
