package backendtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dlx.dev/dlx/backends"
)

func provisionTwice(t *testing.T, b *Bed) {
	l := newBook(t, nil)
	first, err := b.Backend.Provision(t.Context(), b.request(l, "f", 2))
	if err != nil {
		t.Fatal(err)
	}
	second, err := b.Backend.Provision(t.Context(), b.request(l, "f", 2))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("the second time (-first +second):\n%s", diff)
	}
	if first[0].Name != "m0" || first[1].Name != "m1" {
		t.Errorf("got order %v", ids(first))
	}
	for _, m := range first {
		if m.ID == "" || m.Address == "" || m.Access.Kind() == "" {
			t.Errorf("machine %s: ID %q, address %q, access %q", m.Name, m.ID, m.Address, m.Access.Kind())
		}
	}
	b.release(t, l, "f")
}

func provisionTwiceAtOnce(t *testing.T, b *Bed) {
	l := newBook(t, nil)
	var got [2][]string
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			ms, err := b.Backend.Provision(t.Context(), b.request(l, "f", 1))
			if err != nil {
				t.Error(err)
			}
			got[i] = ids(ms)
		})
	}
	wg.Wait()
	if !slices.Equal(got[0], got[1]) {
		t.Errorf("got %v and %v", got[0], got[1])
	}
	b.release(t, l, "f")
}

func ownersApart(t *testing.T, b *Bed) {
	l := newBook(t, nil)
	a, err := b.Backend.Provision(t.Context(), b.request(l, "a", 1))
	if err != nil {
		t.Fatal(err)
	}
	// A run whose ID only begins the same.
	longer := b.request(l, "a", 1)
	longer.Owner.Run += "-a"
	c, err := b.Backend.Provision(t.Context(), longer)
	if err != nil {
		t.Fatal(err)
	}
	if a[0].ID == c[0].ID {
		t.Errorf("both runs got %s", a[0].ID)
	}
	for _, o := range []backends.Owner{owner("a"), owner(""), longer.Owner} {
		list, err := b.Backend.Owned(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if len(b.machines(list)) != 1 {
			t.Errorf("%v owns %v; want one machine", o, list)
		}
	}
	if list := b.owned(t, "other"); len(list) != 0 {
		t.Errorf("a fleet that is not there owns %v", list)
	}
	b.release(t, l, "")
	if list, err := b.Backend.Owned(t.Context(), longer.Owner); len(list) == 0 || err != nil {
		t.Errorf("the other run owns %v, %v", list, err)
	}
	if err := b.Backend.Release(t.Context(), backends.Owner{Run: longer.Owner.Run}, l); err != nil {
		t.Error(err)
	}
}

func cancelHalfway(t *testing.T, b *Bed) {
	// At every moment of a provision, from before the first request to after the last.
	step := 10 * time.Millisecond
	switch {
	case b.Step != 0:
		step = b.Step
	case b.Virtual:
		step = 47 * time.Second
	}
	for i := range 8 {
		l := newBook(t, nil)
		why := errors.New("the user wanted to stop")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Duration(i)*step, why)
		fleet := fmt.Sprintf("f%d", i)
		_, err := b.Backend.Provision(ctx, b.request(l, fleet, 3))
		if err != nil && !errors.Is(err, why) {
			t.Errorf("after %v: got %v; want %v", time.Duration(i)*step, err, why)
		}
		cancel()
		b.release(t, l, fleet)
		b.release(t, l, "")
		if open := l.open(); len(open) > 0 {
			// What was intended and never asked for may stay so: the cloud has nothing of it.
			for _, o := range open {
				if !strings.HasSuffix(o, " intended") {
					t.Errorf("after %v: the ledger holds %s", time.Duration(i)*step, o)
				}
			}
		}
	}
}

func sixteen(t *testing.T, b *Bed) {
	l := newBook(t, nil)
	seen := map[string]bool{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			ms, err := b.Backend.Provision(t.Context(), b.request(l, fmt.Sprintf("f%d", i), 1))
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if seen[ms[0].ID] {
				t.Errorf("two fleets got %s", ms[0].ID)
			}
			seen[ms[0].ID] = true
		})
	}
	wg.Wait()
	b.release(t, l, "")
	if open := l.open(); len(open) > 0 {
		t.Errorf("the ledger holds %v", open)
	}
}

func releases(t *testing.T, b *Bed) {
	l := newBook(t, nil)
	b.release(t, l, "nothing")
	b.release(t, l, "")
	done := make(chan error, 1)
	go func() {
		_, err := b.Backend.Provision(t.Context(), b.request(l, "beside", 2))
		done <- err
	}()
	if _, err := b.Backend.Provision(t.Context(), b.request(l, "f", 1)); err != nil {
		t.Error(err)
	}
	b.release(t, l, "f")
	b.release(t, l, "f")
	if err := <-done; err != nil {
		t.Errorf("beside it: %v", err)
	}
	if list := b.machines(b.owned(t, "beside")); len(list) != 2 {
		t.Errorf("beside it: %v is left of 2", list)
	}
	b.release(t, l, "")
	b.release(t, l, "")
}

func ledgerFirst(t *testing.T, b *Bed) {
	l := newBook(t, b.Backend)
	if _, err := b.Backend.Provision(t.Context(), b.request(l, "f", 2)); err != nil {
		t.Fatal(err)
	}
	for _, obj := range b.owned(t, "") {
		if got := l.state[obj.Kind+" "+obj.Name]; got != "made" {
			t.Errorf("%s %s is %q in the ledger", obj.Kind, obj.Name, got)
		}
	}
	b.release(t, l, "f")
	b.release(t, l, "")
	if open := l.open(); len(open) > 0 {
		t.Errorf("the ledger holds %v", open)
	}
	full := errors.New("the disk is full")
	if _, err := b.Backend.Provision(t.Context(), b.request(broken{full}, "g", 1)); !errors.Is(err, full) {
		t.Errorf("a ledger that cannot write: got %v", err)
	}
	if list := b.owned(t, ""); len(list) > 0 {
		t.Errorf("made without a note: %v", list)
	}
}

// broken is a ledger that cannot write.
type broken struct{ err error }

func (l broken) Intend(context.Context, backends.Owner, backends.Object) error { return l.err }
func (l broken) Made(context.Context, backends.Owner, backends.Object) error   { return l.err }
func (l broken) Gone(context.Context, backends.Owner, backends.Object) error   { return l.err }

func bootFails(t *testing.T, b *Bed) {
	l := newBook(t, nil)
	b.Fail("m1", "the bolt fell out of the rack")
	began := time.Now()
	_, err := b.Backend.Provision(t.Context(), b.request(l, "f", 3))
	if err == nil || !strings.Contains(err.Error(), "the bolt fell out of the rack") {
		t.Errorf("got %v; want the reason", err)
	}
	classIs(t, err, backends.Infra)
	if d := time.Since(began); d > time.Hour {
		t.Errorf("noticed after %v", d)
	}
	b.release(t, l, "f")
	b.release(t, l, "")
	if open := l.open(); len(open) > 0 {
		t.Errorf("the ledger holds %v", open)
	}
}

func noRoom(t *testing.T, b *Bed) {
	l := newBook(t, nil)
	b.Fail("m0", "No valid host was found. There are not enough hosts available.")
	_, err := b.Backend.Provision(t.Context(), b.request(l, "f", 1))
	classIs(t, err, backends.Capacity)
	b.release(t, l, "")
}

func quotaIsQuota(t *testing.T, b *Bed) {
	l := newBook(t, nil)
	b.Quota(2)
	r := b.request(l, "f", 2)
	if _, err := b.Backend.Provision(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if c, ok := b.Backend.Provider.(backends.Checker); ok { // what a run has is not wanted once more
		found, err := c.Check(t.Context(), r.Owner.Run, []backends.Need{{Fleet: "f", Machines: r.Machines}})
		if err != nil || slices.ContainsFunc(found, func(f backends.Finding) bool { return !f.Warning }) {
			t.Errorf("the check: got %v, %v", found, err)
		}
	}
	_, err := b.Backend.Provision(t.Context(), b.request(l, "g", 1))
	classIs(t, err, backends.Quota)
	b.release(t, l, "f")
	if _, err := b.Backend.Provision(t.Context(), b.request(l, "g", 1)); err != nil {
		t.Errorf("after a release: %v", err)
	}
	b.release(t, l, "")
}

func unknownNames(t *testing.T, b *Bed) {
	l := newBook(t, nil)
	for i, name := range slices.Sorted(maps.Keys(b.Bad)) {
		r := b.request(l, fmt.Sprintf("f%d", i), 1)
		r.Machines[0].Spec = b.Bad[name]
		_, err := b.Backend.Provision(t.Context(), r)
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v; want it named", name, err)
		}
		classIs(t, err, backends.Config)
		if backends.ClassOf(err).Temporary() {
			t.Errorf("%s: temporary", name)
		}
	}
	b.release(t, l, "")
	if open := l.open(); len(open) > 0 {
		t.Errorf("the ledger holds %v", open)
	}
}

func refusedForAWhile(t *testing.T, b *Bed) {
	l := newBook(t, nil)
	for _, status := range []int{429, 503} {
		b.Refuse(status, 1, 2)
		if _, err := b.Backend.Provision(t.Context(), b.request(l, fmt.Sprintf("f%d", status), 1)); err != nil {
			t.Errorf("%d: %v", status, err)
		}
	}
	b.release(t, l, "")
}

func refusedForLong(t *testing.T, b *Bed) {
	l := newBook(t, nil)
	for _, status := range []int{429, 500, 502, 503, 504} {
		b.Refuse(status, -1, 1)
		_, err := b.Backend.Provision(t.Context(), b.request(l, fmt.Sprintf("f%d", status), 1))
		if err == nil || !backends.ClassOf(err).Temporary() {
			t.Errorf("%d: got %v (%s); want a temporary error", status, err, backends.ClassOf(err))
		}
	}
	b.release(t, l, "")
}

func lostAnswer(t *testing.T, b *Bed) {
	l := newBook(t, nil)
	b.HangUp()
	ms, err := b.Backend.Provision(t.Context(), b.request(l, "f", 1))
	if err != nil {
		if !backends.ClassOf(err).Temporary() {
			t.Errorf("got %v; want a temporary error", err)
		}
		if ms, err = b.Backend.Provision(t.Context(), b.request(l, "f", 1)); err != nil {
			t.Fatal(err)
		}
	}
	if list := b.machines(b.owned(t, "f")); len(list) != 1 || len(ms) != 1 {
		t.Errorf("got %v; want one machine", list)
	}
	b.release(t, l, "")
}

func renewed(t *testing.T, b *Bed) {
	l := newBook(t, nil)
	b.Revoke()
	if _, err := b.Backend.Provision(t.Context(), b.request(l, "f", 1)); err != nil {
		t.Errorf("provision: %v", err)
	}
	b.Revoke()
	b.release(t, l, "")
}

func noSecrets(t *testing.T, b *Bed) {
	l := newBook(t, nil)
	echo := strings.Join(b.Secrets, " ")
	var texts []string
	b.Fail("m0", "the cloud repeats "+echo)
	_, err := b.Backend.Provision(t.Context(), b.request(l, "f", 1))
	texts = append(texts, fmt.Sprintf("%v %+v %#v", err, err, err))
	b.Refuse(500, -1, 1)
	_, err = b.Backend.Provision(t.Context(), b.request(l, "g", 1))
	texts = append(texts, fmt.Sprint(err))
	bad := b.request(l, "h", 1)
	bad.Machines[0].Spec = json.RawMessage(`{"nosuch": 1}`)
	_, err = b.Backend.Provision(t.Context(), bad)
	texts = append(texts, fmt.Sprint(err))
	ms, err := b.Backend.Provision(t.Context(), b.request(l, "i", 1))
	if err != nil {
		t.Fatal(err)
	}
	texts = append(texts, fmt.Sprint(ms[0].Facts))
	secrets := b.Secrets
	if a := ms[0].Access.SSH; a != nil {
		secrets = append(slices.Clone(secrets), strings.Split(string(a.Key), "\n")[1])
	}
	for _, s := range secrets {
		for _, x := range texts {
			if s != "" && strings.Contains(x, s) {
				t.Errorf("a secret stands in %s", x)
			}
		}
	}
	b.release(t, l, "")
}

func restart(t *testing.T, b *Bed) {
	l := newBook(t, nil)
	before, err := b.Backend.Provision(t.Context(), b.request(l, "f", 1))
	if err != nil {
		t.Fatal(err)
	}
	launcher := b.Backend.Launchers[before[0].Access.Kind()]
	if err := launcher.Start(t.Context(), backends.Single(before[0], backends.Process{ID: "p", Args: b.Program(Program{Out: "still here", Sleep: 0.5, Exit: 3})})); err != nil {
		t.Fatal(err)
	}
	b.Backend = b.Reopen()
	after, err := b.Backend.Provision(t.Context(), b.request(l, "f", 1))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(ids(before), ids(after)) {
		t.Errorf("got %v; want %v", ids(after), ids(before))
	}
	launcher = b.Backend.Launchers[after[0].Access.Kind()]
	if err := launcher.Start(t.Context(), backends.Single(after[0], backends.Process{ID: "p", Args: b.Program(Program{Out: "twice"})})); err != nil {
		t.Errorf("start: %v", err)
	}
	if e, err := launcher.Wait(t.Context(), after[0], "p-0"); err != nil || e.Code != 3 {
		t.Errorf("wait: got %+v, %v", e, err)
	}
	if got := text(t, launcher, after[0], "p-0", backends.Stdout, 0); got != "still here" {
		t.Errorf("got output %q", got)
	}
	b.Backend = b.Reopen()
	b.release(t, l, "")
	if open := l.open(); len(open) > 0 {
		t.Errorf("the ledger holds %v", open)
	}
}

// reopened has another process find what one that died has made, and remove it.
func reopened(t *testing.T, b *Bed) {
	l := newBook(t, nil)
	before, err := b.Backend.Provision(t.Context(), b.request(l, "f", 2))
	if err != nil {
		t.Fatal(err)
	}
	b.Backend = b.Reopen()
	after, err := b.Backend.Provision(t.Context(), b.request(l, "f", 2))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(ids(before), ids(after)) {
		t.Errorf("got %v; want %v", ids(after), ids(before))
	}
	b.Backend = b.Reopen()
	b.release(t, l, "")
	if open := l.open(); len(open) > 0 {
		t.Errorf("the ledger holds %v", open)
	}
}
