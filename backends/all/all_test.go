package all_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"testing"
	"time"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/all"
)

// quiet is a ledger that keeps nothing.
type quiet struct{}

func (quiet) Intend(context.Context, backends.Owner, backends.Object) error { return nil }
func (quiet) Made(context.Context, backends.Owner, backends.Object) error   { return nil }
func (quiet) Gone(context.Context, backends.Owner, backends.Object) error   { return nil }

func factory(t *testing.T, kind string) backends.Factory {
	t.Helper()
	for _, f := range all.List() {
		if f.Kind == kind {
			return f
		}
	}
	t.Fatalf("no factory %q", kind)
	return backends.Factory{}
}

// The default testbed: what a user without a cloud gets.
func TestSandboxRunsAProcess(t *testing.T) {
	ctx := t.Context()
	state := t.TempDir()
	b, err := factory(t, "sandbox").Open(ctx, backends.Options{Cloud: "here", State: state, Secret: bytes.Repeat([]byte{7}, 32), Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := b.Provider.(backends.Collector); !ok {
		t.Errorf("%T is no collector", b.Provider)
	}
	if _, ok := b.Provider.(backends.Checker); !ok {
		t.Errorf("%T is no checker", b.Provider)
	}
	closed := false
	defer func() {
		if !closed {
			b.Close(ctx)
		}
	}()
	for name, spec := range map[string]string{
		"server": `{"flavor": "sandbox.small", "image": "sandbox", "network": "sandbox", "user": "sandbox"}`,
		"node":   `{"service": "ironic", "resourceClass": "baremetal", "image": "sandbox", "user": "sandbox"}`,
	} {
		o := backends.Owner{Run: "r1", Fleet: "f-" + name}
		ms, err := b.Provision(ctx, backends.FleetRequest{Owner: o, Ledger: quiet{}, Until: time.Now().Add(time.Hour),
			Machines: []backends.MachineRequest{{Name: "m0", Spec: json.RawMessage(spec)}}})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		m := ms[0]
		l := b.Launchers[m.Access.Kind()]
		if err := l.Start(ctx, backends.Single(m, backends.Process{ID: "trial/worker", Args: []string{"echo", "it's", "up"}})); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		exit, err := l.Wait(ctx, m, "trial/worker-0")
		if err != nil || exit.Code != 0 {
			t.Errorf("%s: got %+v, %v", name, exit, err)
		}
		r, err := l.Open(ctx, m, "trial/worker-0", backends.Stdout, 0)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if out, err := io.ReadAll(r); string(out) != "it's up\n" || err != nil {
			t.Errorf("%s: got %q, %v", name, out, err)
		}
		r.Close()
		if err := b.Release(ctx, o, quiet{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	closed = true
	if err := b.Close(ctx); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(state); len(left) != 0 || err != nil {
		t.Errorf("left in the state folder: %v, %v", left, err)
	}
}
