package backendtest

import (
	"testing"

	"dlx.dev/dlx/backends"
)

// checkFits checks that what can be made passes a check, and that a check leaves nothing. That
// misfits are found each backend's own tests show: clouds have them in their own words.
func checkFits(t *testing.T, b *Bed) {
	c, ok := b.Backend.Provider.(backends.Checker)
	if !ok {
		t.Fatalf("%T is no backends.Checker", b.Backend.Provider)
	}
	l := newBook(t, nil)
	r := b.request(l, "f", 2)
	found, err := c.Check(t.Context(), "", []backends.Need{{Fleet: "f", Machines: r.Machines}})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if !f.Warning {
			t.Errorf("%s: %s", f.Field, f.Msg)
		}
	}
	if list := b.owned(t, ""); len(list) > 0 {
		t.Errorf("made: %v", list)
	}
	if _, err := b.Backend.Provision(t.Context(), r); err != nil {
		t.Error(err)
	}
	b.release(t, l, "")
}
