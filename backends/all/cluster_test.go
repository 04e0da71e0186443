package all_test

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"testing"
	"time"

	"dlx.dev/dlx/backends"
)

// A fleet of containers on the default testbed: a cluster of Magnum, its kubeconfig, and pods.
func TestSandboxRunsAPod(t *testing.T) {
	for _, template := range []string{"sandbox", "sandbox-metal"} {
		t.Run(template, func(t *testing.T) {
			ctx := t.Context()
			state := t.TempDir()
			b, err := factory(t, "sandbox").Open(ctx, backends.Options{Cloud: "here", State: state, Secret: bytes.Repeat([]byte{7}, 32), Log: t.Logf})
			if err != nil {
				t.Fatal(err)
			}
			o := backends.Owner{Run: "r1", Fleet: "c-2"}
			spec := json.RawMessage(`{"service": "magnum", "clusterTemplate": "` + template + `", "pod": {"image": "sandbox"}}`)
			ms, err := b.Provision(ctx, backends.FleetRequest{Owner: o, Ledger: quiet{}, Until: time.Now().Add(time.Hour), Hosts: backends.DifferentHosts,
				Machines: []backends.MachineRequest{{Name: "m0", Spec: spec}, {Name: "m1", Spec: spec}}})
			if err != nil {
				t.Fatal(err)
			}
			l := b.Launchers[ms[0].Access.Kind()]
			if ms, err = l.Prepare(ctx, ms); err != nil {
				t.Fatal(err)
			}
			if ms[0].Host == "" || ms[0].Host == ms[1].Host {
				t.Errorf("hosts %q and %q", ms[0].Host, ms[1].Host)
			}
			g := backends.Group{ID: "trial/worker", Machines: ms, Args: [][]string{{"echo", "first"}, {"echo", "second"}}}
			if err := l.Start(ctx, g); err != nil {
				t.Fatal(err)
			}
			for i, m := range ms {
				id := backends.ProcessID(g.ID, i)
				if e, err := l.Wait(ctx, m, id); err != nil || e.Code != 0 {
					t.Errorf("%s: %+v, %v", id, e, err)
				}
				r, err := l.Open(ctx, m, id, backends.Stdout, 0)
				if err != nil {
					t.Fatal(err)
				}
				if out, err := io.ReadAll(r); string(out) != g.Args[i][1]+"\n" || err != nil {
					t.Errorf("%s: got %q, %v", id, out, err)
				}
				r.Close()
			}
			if err := b.Release(ctx, o, quiet{}); err != nil {
				t.Error(err)
			}
			if err := b.Close(ctx); err != nil {
				t.Error(err)
			}
			if left, err := os.ReadDir(state); len(left) != 0 || err != nil {
				t.Errorf("left in the state folder: %v, %v", left, err)
			}
		})
	}
}
