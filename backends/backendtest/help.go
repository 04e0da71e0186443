package backendtest

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"dlx.dev/dlx/backends"
)

const run = "r20180319"

func owner(fleet string) backends.Owner { return backends.Owner{Run: run, Fleet: fleet} }

// book is a ledger that remembers, and complains about what comes in a wrong order.
type book struct {
	t *testing.T
	b *backends.Backend // asked, at each Intend, whether the object is there already; may be nil

	mu    sync.Mutex
	state map[string]string // "kind name" -> intended, made, gone
}

func newBook(t *testing.T, b *backends.Backend) *book {
	return &book{t: t, b: b, state: map[string]string{}}
}

func (l *book) Intend(ctx context.Context, o backends.Owner, obj backends.Object) error {
	if l.b != nil {
		there, err := l.b.Owned(ctx, backends.Owner{Run: o.Run})
		if err != nil {
			l.t.Errorf("owned: %v", err)
		}
		for _, x := range there {
			if x.Kind == obj.Kind && x.Name == obj.Name {
				l.t.Errorf("%s %s: the cloud had it before the ledger", obj.Kind, obj.Name)
			}
		}
	}
	return l.note(obj, "intended")
}

func (l *book) Made(_ context.Context, _ backends.Owner, obj backends.Object) error {
	if obj.ID == "" {
		l.t.Errorf("%s %s: made without an ID", obj.Kind, obj.Name)
	}
	return l.note(obj, "made")
}

func (l *book) Gone(_ context.Context, _ backends.Owner, obj backends.Object) error {
	return l.note(obj, "gone")
}

func (l *book) note(obj backends.Object, what string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state[obj.Kind+" "+obj.Name] = what
	return nil
}

// open lists what is not gone.
func (l *book) open() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for k, v := range l.state {
		if v != "gone" {
			out = append(out, k+" "+v)
		}
	}
	slices.Sort(out)
	return out
}

// request asks for machines m0, m1, ... of a fleet.
func (b *Bed) request(l backends.Ledger, fleet string, machines int) backends.FleetRequest {
	r := backends.FleetRequest{Owner: owner(fleet), Ledger: l, Until: time.Now().Add(time.Hour)}
	for i := range machines {
		r.Machines = append(r.Machines, backends.MachineRequest{Name: fmt.Sprintf("m%d", i), Spec: b.Spec})
	}
	return r
}

// one provisions a machine and gives it with its launcher; it is released when the check ends.
func (b *Bed) one(t *testing.T) (backends.Machine, backends.Launcher, func()) {
	t.Helper()
	l := newBook(t, nil)
	ms, err := b.Backend.Provision(t.Context(), b.request(l, "one", 1))
	if err != nil {
		t.Fatalf("provision: %v", err)
	}
	launcher := b.Backend.Launchers[ms[0].Access.Kind()]
	if launcher == nil {
		t.Fatalf("no launcher for access %q", ms[0].Access.Kind())
	}
	return ms[0], launcher, func() { b.release(t, l, "") }
}

// release ends a fleet, or all, and checks that nothing is left of it.
func (b *Bed) release(t *testing.T, l *book, fleet string) {
	t.Helper()
	if err := b.Backend.Release(t.Context(), owner(fleet), l); err != nil {
		t.Errorf("release %q: %v", fleet, err)
	}
	if left := b.owned(t, fleet); len(left) > 0 {
		t.Errorf("release %q left %v", fleet, left)
	}
}

func (b *Bed) owned(t *testing.T, fleet string) []backends.Object {
	t.Helper()
	out, err := b.Backend.Owned(t.Context(), owner(fleet))
	if err != nil {
		t.Errorf("owned: %v", err)
	}
	return out
}

// machines gives those of a list that are machines.
func (b *Bed) machines(list []backends.Object) []backends.Object {
	return slices.DeleteFunc(slices.Clone(list), func(o backends.Object) bool {
		return b.Machine != "" && o.Kind != b.Machine || o.Kind == "keypair"
	})
}

// run starts a program and waits for it.
func (b *Bed) run(t *testing.T, l backends.Launcher, m backends.Machine, p backends.Process, prog Program) backends.Exit {
	t.Helper()
	p.Args = b.Program(prog)
	if err := l.Start(t.Context(), backends.Single(m, p)); err != nil {
		t.Fatalf("start %s: %v", p.ID, err)
	}
	e, err := l.Wait(t.Context(), m, backends.ProcessID(p.ID, 0))
	if err != nil {
		t.Fatalf("wait %s: %v", p.ID, err)
	}
	return e
}

// text reads a file of a process.
func text(t *testing.T, l backends.Launcher, m backends.Machine, id, name string, offset int64) string {
	t.Helper()
	r, err := l.Open(t.Context(), m, id, name, offset)
	if err != nil {
		t.Fatalf("open %s of %s: %v", name, id, err)
	}
	defer r.Close()
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("read %s of %s: %v", name, id, err)
	}
	return string(out)
}

func ids(ms []backends.Machine) []string {
	var out []string
	for _, m := range ms {
		out = append(out, m.Name+"="+m.ID)
	}
	return out
}

func classIs(t *testing.T, err error, want backends.Class) {
	t.Helper()
	if got := backends.ClassOf(err); err == nil || got != want {
		t.Errorf("got class %q (%v); want %q", got, err, want)
	}
}
