package backendtest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dlx.dev/dlx/backends"
)

// collector gives the provider's other side, which all of them have.
func (b *Bed) collector(t *testing.T) backends.Collector {
	t.Helper()
	c, ok := b.Backend.Provider.(backends.Collector)
	if !ok {
		t.Fatalf("%T is no backends.Collector", b.Backend.Provider)
	}
	return c
}

// leftovers lists those of the suite's own runs: a cloud may hold others.
func (b *Bed) leftovers(t *testing.T) []backends.Leftover {
	t.Helper()
	all, err := b.collector(t).Leftovers(t.Context())
	if err != nil {
		t.Fatalf("leftovers: %v", err)
	}
	return slices.DeleteFunc(all, func(l backends.Leftover) bool { return l.Owner.Run != run && l.Owner.Run != run+"-a" })
}

// line is a leftover without what differs from cloud to cloud.
func line(o backends.Owner, obj backends.Object) string {
	return fmt.Sprintf("%s %s %s %s %s", o.Run, o.Fleet, obj.Kind, obj.Name, obj.ID)
}

// leftBehind checks that whatever is owned is found without knowing whose it is.
func leftBehind(t *testing.T, b *Bed) {
	l := newBook(t, nil)
	until := map[backends.Owner]time.Time{}
	hour := time.Now().Add(time.Hour).Truncate(time.Second)
	for i, o := range []backends.Owner{{Run: run, Fleet: "b"}, {Run: run, Fleet: "a"}, {Run: run + "-a", Fleet: "a"}} {
		r := b.request(l, o.Fleet, 1)
		r.Owner, r.Until = o, hour.Add(time.Duration(i)*time.Minute)
		until[o] = r.Until
		if _, err := b.Backend.Provision(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if b.Reopen != nil {
		b.Backend = b.Reopen()
	}
	got := b.leftovers(t)
	var lines []string
	for _, x := range got {
		lines = append(lines, line(x.Owner, x.Object))
		want, fleets := until[x.Owner]
		if fleets && !x.Until.Equal(want) {
			t.Errorf("%s: until %v; want %v", line(x.Owner, x.Object), x.Until, want)
		}
		if x.Until.IsZero() {
			t.Errorf("%s says no deadline", line(x.Owner, x.Object))
		}
	}
	for _, name := range []string{run, run + "-a"} {
		b.sameAsOwned(t, name, until, got)
	}
	if !slices.IsSortedFunc(got, func(x, y backends.Leftover) int {
		return cmpTexts(x.Owner.Run, y.Owner.Run, x.Owner.Fleet, y.Owner.Fleet, x.Object.Kind, y.Object.Kind, x.Object.Name, y.Object.Name)
	}) {
		t.Errorf("not sorted: %q", lines)
	}
	if len(slices.Compact(slices.Clone(lines))) != len(lines) {
		t.Errorf("something twice: %q", lines)
	}

	// What a release leaves is another's.
	b.release(t, l, "a")
	for _, x := range b.leftovers(t) {
		if x.Owner == owner("a") {
			t.Errorf("after the release of its fleet: %s", line(x.Owner, x.Object))
		}
	}
	b.release(t, l, "")
	for _, x := range b.leftovers(t) {
		if x.Owner.Run == run {
			t.Errorf("after the release of its run: %s", line(x.Owner, x.Object))
		}
	}
	if len(b.leftovers(t)) == 0 {
		t.Error("the release of a run took another's leftovers")
	}
	if err := b.Backend.Release(t.Context(), backends.Owner{Run: run + "-a"}, l); err != nil {
		t.Error(err)
	}
	if left := b.leftovers(t); len(left) > 0 {
		t.Errorf("after all releases: %v", left)
	}
}

// sameAsOwned compares the leftovers of a run with what it owns.
func (b *Bed) sameAsOwned(t *testing.T, name string, fleets map[backends.Owner]time.Time, got []backends.Leftover) {
	t.Helper()
	list := func(o backends.Owner) []backends.Object {
		out, err := b.Backend.Owned(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	var want, have []string
	of := map[backends.Object]backends.Owner{}
	for o := range fleets {
		if o.Run == name {
			for _, obj := range list(o) {
				of[obj] = o
			}
		}
	}
	for _, obj := range list(backends.Owner{Run: name}) {
		o, ok := of[obj]
		if !ok {
			o = backends.Owner{Run: name}
		}
		want = append(want, line(o, obj))
	}
	for _, x := range got {
		if x.Owner.Run == name {
			have = append(have, line(x.Owner, x.Object))
		}
	}
	slices.Sort(want)
	slices.Sort(have)
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("leftovers of run %s differ from what it owns (-owned +leftovers):\n%s", name, diff)
	}
}

// cmpTexts compares pairs of texts in turn.
func cmpTexts(pairs ...string) int {
	for i := 0; i < len(pairs); i += 2 {
		switch {
		case pairs[i] < pairs[i+1]:
			return -1
		case pairs[i] > pairs[i+1]:
			return 1
		}
	}
	return 0
}

// strangers checks that a name alone makes nothing dlx's.
func strangers(t *testing.T, b *Bed) {
	defer b.Stranger(run)()
	for _, x := range b.leftovers(t) {
		t.Errorf("nothing was made, and %s is found", line(x.Owner, x.Object))
	}
}
