package openstack

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// seeClean waits until nodes that were let go are cleaned, so that the next fleet finds them free.
// They are nobody's any more: one whose cleaning fails, or takes longer than a boot may, is the
// operator's, and no failure of ours.
func (o *provider) seeClean(ctx context.Context, held map[string]string) error {
	if len(held) == 0 {
		return nil
	}
	began := time.Now()
	return o.metal.wait(ctx, func(metalView) (bool, error) {
		for _, id := range slices.Sorted(maps.Keys(held)) {
			n, err := o.node(ctx, id)
			switch {
			case err != nil:
				return false, err
			case n != nil && slices.Contains([]string{"deleting", "cleaning", "clean wait"}, n.State):
				if d := time.Since(began); d < o.p.Boot {
					continue
				}
				o.log("node %s of %s: it is in state %q since %v, and is not waited for", n.Name, held[id], n.State, o.p.Boot)
			case n != nil && strings.HasSuffix(n.State, "failed"):
				o.log("node %s of %s: it is in state %q: %s", n.Name, held[id], n.State, o.cloud.redact(clip(n.LastError)))
			}
			delete(held, id)
		}
		return len(held) == 0, nil
	})
}

// node gives one node's record, or nil where there is none that we may see.
func (o *provider) node(ctx context.Context, id string) (*nodeView, error) {
	var n nodeView
	err := get(ctx, o.cloud.metal, url.Values{"fields": {nodeFields}}, &n, "nodes", id)
	if err = o.cloud.fail(ctx, "show node "+id, err); err != nil {
		if r := refusalOf(err); r != nil && (r.status == http.StatusNotFound || r.status == http.StatusForbidden) {
			return nil, nil
		}
		return nil, err
	}
	return &n, nil
}
