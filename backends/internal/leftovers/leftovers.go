// Package leftovers puts the lists of collectors in order.
package leftovers

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"dlx.dev/dlx/backends"
)

// Complete gives what says no deadline that of its fleet, or else of its run, the latest of each,
// and sorts by run, fleet, kind and name.
func Complete(list []backends.Leftover) []backends.Leftover {
	latest := map[backends.Owner]time.Time{}
	for _, l := range list {
		for _, o := range []backends.Owner{l.Owner, {Run: l.Owner.Run}} {
			if l.Until.After(latest[o]) {
				latest[o] = l.Until
			}
		}
	}
	for i := range list {
		if l := &list[i]; l.Until.IsZero() {
			if l.Until = latest[l.Owner]; l.Until.IsZero() {
				l.Until = latest[backends.Owner{Run: l.Owner.Run}]
			}
		}
	}
	slices.SortFunc(list, func(a, b backends.Leftover) int {
		return cmp.Or(strings.Compare(a.Owner.Run, b.Owner.Run), strings.Compare(a.Owner.Fleet, b.Owner.Fleet),
			strings.Compare(a.Object.Kind, b.Object.Kind), strings.Compare(a.Object.Name, b.Object.Name), strings.Compare(a.Object.ID, b.Object.ID))
	})
	return list
}
