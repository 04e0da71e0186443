package leftovers

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dlx.dev/dlx/backends"
)

func TestComplete(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	of := func(run, fleet, kind, name string, until time.Time) backends.Leftover {
		return backends.Leftover{Owner: backends.Owner{Run: run, Fleet: fleet}, Until: until, Object: backends.Object{Kind: kind, Name: name}}
	}
	var none time.Time
	got := Complete([]backends.Leftover{
		of("b", "f", "server", "x", at(5)), of("a", "g", "group", "x", none), of("a", "f", "server", "y", at(2)), of("a", "f", "server", "x", at(1)),
		of("a", "f", "group", "x", none), of("a", "", "keypair", "k", none), of("c", "f", "group", "x", none),
	})
	want := []backends.Leftover{
		of("a", "", "keypair", "k", at(2)), of("a", "f", "group", "x", at(2)), of("a", "f", "server", "x", at(1)), of("a", "f", "server", "y", at(2)),
		of("a", "g", "group", "x", at(2)), of("b", "f", "server", "x", at(5)), of("c", "f", "group", "x", none),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
