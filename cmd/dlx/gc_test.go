package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/memory"
	"dlx.dev/dlx/backends/openstack"
	"dlx.dev/dlx/backends/sandbox"
	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
)

// lostFleet is a fleet that nobody knows of any more.
type lostFleet struct {
	owner backends.Owner
	hosts backends.Hosts
	until time.Duration // from now
}

// lostCloud is a sandbox that is served as any other cloud, and the testbed that names it.
func lostCloud(t *testing.T, fleets ...lostFleet) (testbed string, faults *sandbox.Faults) {
	t.Helper()
	dir := t.TempDir()
	faults = &sandbox.Faults{}
	s, err := sandbox.Start(t.Context(), sandbox.Config{State: filepath.Join(dir, "state"), Hosts: 8, BuildTime: time.Millisecond, Faults: faults})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.End(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	testbed = filepath.Join(dir, "lab.cue")
	text := `package testbeds

import "dlx.dev/dlx"

testbed: dlx.#Testbed & {
	name: "lab"
	clouds: lab: {backend: "openstack", cloud: "sandbox"}
	orchestrations: vm: {cloud: "lab", machine: {flavor: "sandbox.small", image: "sandbox", user: "sandbox"}}
}
`
	for name, b := range map[string][]byte{"clouds.yaml": s.CloudsYAML(), "lab.cue": []byte(text)} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("OS_CLIENT_CONFIG_FILE", filepath.Join(dir, "clouds.yaml"))
	for _, f := range fleets {
		leave(t, s, f.owner, f.hosts, time.Now().Add(f.until))
	}
	return testbed, faults
}

// leave makes machines of a run of which nothing else is known.
func leave(t *testing.T, s *sandbox.Server, o backends.Owner, hosts backends.Hosts, until time.Time) {
	t.Helper()
	user, password, _, _ := s.Credentials()
	b, err := openstack.New(t.Context(), openstack.Params{
		Auth:     gophercloud.AuthOptions{IdentityEndpoint: s.URL(), Username: user, Password: password, DomainID: "default", TenantName: "sandbox"},
		Endpoint: gophercloud.EndpointOpts{Region: sandbox.Region},
		Secret:   bytes.Repeat([]byte{3}, 32), SSHPort: s.Port(), PollMin: 20 * time.Millisecond, PollMax: 100 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(b.Launchers["ssh"].Close(), b.Close(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	spec := json.RawMessage(`{"flavor": "sandbox.small", "image": "sandbox", "user": "sandbox"}`)
	r := backends.FleetRequest{Owner: o, Hosts: hosts, Until: until, Ledger: forgetful{}, Machines: []backends.MachineRequest{{Name: "m0", Spec: spec}, {Name: "m1", Spec: spec}}}
	if _, err := b.Provision(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

// forgetful is the ledger of a run whose folder is lost.
type forgetful struct{}

func (forgetful) Intend(context.Context, backends.Owner, backends.Object) error { return nil }
func (forgetful) Made(context.Context, backends.Owner, backends.Object) error   { return nil }
func (forgetful) Gone(context.Context, backends.Owner, backends.Object) error   { return nil }

// gc runs the command, and gives what became of each object.
func gc(t *testing.T, wantCode int, args ...string) []string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := Main(t.Context(), append([]string{"gc", "--output", "json"}, args...), &stdout, &stderr)
	if code != wantCode {
		t.Errorf("%v: exit code %d; want %d: %s", args, code, wantCode, stderr.String())
	}
	var d gcDoc
	if err := json.Unmarshal(stdout.Bytes(), &d); err != nil {
		t.Fatalf("%v: %v in %s", args, err, stdout.String())
	}
	out := []string{}
	for _, x := range d.Objects {
		out = append(out, strings.Join([]string{x.Kind, x.Name, x.Did, x.Why}, " "))
	}
	return out
}

// What is past its deadline goes, fleet by fleet; what is not stays, whoever's it is.
func TestGCGoesByDeadlines(t *testing.T) {
	testbed, _ := lostCloud(t,
		lostFleet{backends.Owner{Run: "old", Fleet: "vm-1"}, backends.AnyHosts, -time.Hour},
		lostFleet{backends.Owner{Run: "old", Fleet: "vm-2"}, backends.DifferentHosts, -time.Hour},
		lostFleet{backends.Owner{Run: "half", Fleet: "vm-1"}, backends.AnyHosts, -time.Hour},
		lostFleet{backends.Owner{Run: "half", Fleet: "vm-2"}, backends.AnyHosts, time.Hour},
		lostFleet{backends.Owner{Run: "new", Fleet: "vm-1"}, backends.AnyHosts, time.Hour})
	want := func(did string) []string {
		return []string{
			"keypair dlx-half kept others of its run are not past their deadline",
			"server dlx-half-vm-1-m0 " + did + " ",
			"server dlx-half-vm-1-m1 " + did + " ",
			"server dlx-half-vm-2-m0 kept ",
			"server dlx-half-vm-2-m1 kept ",
			"keypair dlx-new kept ",
			"server dlx-new-vm-1-m0 kept ",
			"server dlx-new-vm-1-m1 kept ",
			"keypair dlx-old " + did + " ",
			"server dlx-old-vm-1-m0 " + did + " ",
			"server dlx-old-vm-1-m1 " + did + " ",
			"server dlx-old-vm-2-m0 " + did + " ",
			"server dlx-old-vm-2-m1 " + did + " ",
			"servergroup dlx.old.vm-2 " + did + " ",
		}
	}
	if diff := cmp.Diff(want("listed"), gc(t, exitOK, "--dry-run", "--testbed", testbed)); diff != "" {
		t.Errorf("dry run (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want("released"), gc(t, exitOK, "--testbed", testbed)); diff != "" {
		t.Errorf("gc (-want +got):\n%s", diff)
	}
	kept := slices.DeleteFunc(want("released"), func(s string) bool { return strings.Contains(s, " released ") })
	if diff := cmp.Diff(kept, gc(t, exitOK, "--testbed", testbed)); diff != "" {
		t.Errorf("again (-want +got):\n%s", diff)
	}
	// A run that is named goes whatever its deadlines say.
	if got := gc(t, exitOK, "--testbed", testbed, "--run", "half"); len(got) != 3 {
		t.Errorf("got %q; want 3 objects released", got)
	}
	if got := gc(t, exitOK, "--testbed", testbed); len(got) != 3 {
		t.Errorf("got %q; want the 3 objects of run new", got)
	}
}

// A run that is taken up while its old machines are released keeps what it makes.
func TestGCLeavesARunThatIsTakenUp(t *testing.T) {
	b := memory.New(memory.Config{}).Backend()
	fleet := func(name string, until time.Time) {
		r := backends.FleetRequest{Owner: backends.Owner{Run: "r", Fleet: name}, Until: until, Ledger: forgetful{}, Machines: []backends.MachineRequest{{Name: "m0"}}}
		if _, err := b.Provision(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	list := func() []backends.Leftover {
		all, err := b.Provider.(backends.Collector).Leftovers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	now := time.Now()
	fleet("old", now.Add(-time.Hour))
	g := &collection{clouds: []plan.Cloud{{Name: "c"}}, now: now}
	owners, whole := g.sort("c", list())
	if len(owners) != 1 || len(whole) != 1 {
		t.Fatalf("got %v, %v; want the fleet, and the run as a whole", owners, whole)
	}
	fleet("new", now.Add(time.Hour))
	if err := errors.Join(g.release(t.Context(), "c", b, owners[0]), g.ends(t.Context(), "c", b, whole)); err != nil {
		t.Fatal(err)
	}
	if left := list(); len(left) != 1 || left[0].Owner.Fleet != "new" {
		t.Errorf("got %v; want the new fleet alone", left)
	}
}

// What cannot be released is named with the cloud's words.
func TestGCTellsWhatIsLeft(t *testing.T) {
	testbed, faults := lostCloud(t, lostFleet{backends.Owner{Run: "new", Fleet: "vm-1"}, backends.AnyHosts, time.Hour})
	faults.Fail("DELETE /servers/*", 403, `{"forbidden": {"code": 403, "message": "Policy does not allow this request to be performed."}}`, 100)
	got := gc(t, exitLeft, "--testbed", testbed, "--run", "new")
	for _, s := range got {
		if !strings.Contains(s, " left ") || !strings.Contains(s, "Policy does not allow") {
			t.Errorf("got %q; want it left, and why", s)
		}
	}
	if len(got) != 3 {
		t.Errorf("got %q; want 3 objects", got)
	}
	faults.Fail("GET /servers/detail", 403, `{"forbidden": {"code": 403, "message": "Policy does not allow this request to be performed."}}`, 100)
	if got := gc(t, exitEnvironment, "--testbed", testbed); len(got) > 0 {
		t.Errorf("got %q; want nothing, for nothing could be listed", got)
	}
}

// What the journal holds and its cloud does not have is gone. What an earlier plan made in another
// cloud stays noted, and what stands without its cloud until somebody says where it was made.
func TestGCBelievesNoOtherCloud(t *testing.T) {
	work := t.TempDir()
	run := filepath.Join(work, "run")
	study := writeStudy(t, strings.NewReplacer(`["bm", "vm", "container-on-vm"]`, `["vm"]`, "sleep 0.2", "true", "[1, 2, 3]", "[1, 2]").Replace(killStudy))
	var out bytes.Buffer
	if code := Main(t.Context(), []string{"run", "--progress", "none", "-t", "work=" + work, "--dir", run, study}, &out, &out); code != exitOK {
		t.Fatalf("run: exit code %d: %s", code, out.String())
	}
	saved, err := os.ReadFile(filepath.Join(run, "plan.json"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.Decode(saved)
	if err != nil {
		t.Fatal(err)
	}
	lose := func(cloud string) {
		t.Helper()
		j, err := journal.Open(filepath.Join(run, "journal.jsonl"), nil)
		if err != nil {
			t.Fatal(err)
		}
		lost := journal.Event{Kind: journal.Made, Owner: &backends.Owner{Run: "tiny", Fleet: "vm-1"}, Object: &backends.Object{Kind: "server", Name: "lost", ID: "1"}, Cloud: cloud}
		if err := errors.Join(j.Append(lost), j.Close()); err != nil {
			t.Fatal(err)
		}
	}
	const kept = "server lost left it was made in a cloud that was not asked"
	lose(p.Clouds[0].ID())
	if got := gc(t, exitOK, run); len(got) > 0 {
		t.Errorf("of its cloud: got %q", got)
	}
	lose("")
	if got := gc(t, exitLeft, run); len(got) != 1 || !strings.HasPrefix(got[0], kept) {
		t.Errorf("of any cloud: got %q", got)
	}
	if got := gc(t, exitOK, run, "--testbed", "sandbox"); len(got) > 0 {
		t.Errorf("of any cloud, and the testbed is named: got %q", got)
	}
	lose("another")
	for _, args := range [][]string{{run}, {run, "--testbed", "sandbox"}} {
		if got := gc(t, exitLeft, args...); len(got) != 1 || !strings.HasPrefix(got[0], kept) {
			t.Errorf("of another cloud, gc %q: got %q", args, got)
		}
	}
}
