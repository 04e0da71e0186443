package backendtest_test

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/backendtest"
)

// netBed is a fresh cloud with a Neutron, whose settings ask for a network of each run's own.
type netBed struct {
	*backendtest.Bed
	t      *testing.T
	at     *between
	stride int                                    // every so many requests a process dies
	floats json.RawMessage                        // a machine with a floating IP
	quota  func(name string, more int)            // so many more there may be; nil: nobody sets quotas
	dry    func() (spec json.RawMessage)          // a machine whose floating IP is from a pool that is used up; nil: there is none
	behind bool                                   // fixed addresses cannot be reached
	find   func(fixed, floating string) (is bool) // whether a floating address leads to a fixed one
}

func (b *netBed) request(fleet string, n int, spec json.RawMessage) backends.FleetRequest {
	r := (&novaBed{Bed: b.Bed}).request(fleet, n, spec, backends.AnyHosts)
	r.Ledger = &strict{t: b.t, known: map[string]bool{}}
	return r
}

func (b *netBed) provision(fleet string, n int, spec json.RawMessage) []backends.Machine {
	b.t.Helper()
	ms, err := b.Backend.Provision(b.t.Context(), b.request(fleet, n, spec))
	if err != nil {
		b.t.Fatal(err)
	}
	return ms
}

func (b *netBed) release(fleet string) {
	b.t.Helper()
	o := backends.Owner{Run: novaRun, Fleet: fleet}
	if err := b.Backend.Release(b.t.Context(), o, forgetful{}); err != nil {
		b.t.Errorf("release %q: %v", fleet, err)
	}
	if left := b.kinds(fleet); left != "" {
		b.t.Errorf("release %q left %s", fleet, left)
	}
}

// kinds counts what is owned, such as "2 floatingip, 1 keypair".
func (b *netBed) kinds(fleet string) string {
	b.t.Helper()
	list, err := b.Backend.Owned(b.t.Context(), backends.Owner{Run: novaRun, Fleet: fleet})
	if err != nil {
		b.t.Fatal(err)
	}
	count := map[string]int{}
	for _, o := range list {
		count[o.Kind]++
	}
	var out []string
	for k, n := range count {
		out = append(out, fmt.Sprintf("%d %s", n, k))
	}
	slices.SortFunc(out, func(a, b string) int { return strings.Compare(a[strings.Index(a, " "):], b[strings.Index(b, " "):]) })
	return strings.Join(out, ", ")
}

func runNetworks(t *testing.T, virtual bool, fresh func(*testing.T) *netBed) {
	for _, c := range []struct {
		name  string
		check func(*netBed)
	}{
		{"a machine is logged into at its floating IP", floatingLogin},
		{"fleets of a run share its network, which goes with the last", shareNetwork},
		{"whatever a dead process made is found again, and nothing is made twice", diedBetween},
		{"whatever a dead process made is removed", diedAndReleased},
		{"a network that is in use still is waited for", networkInUse},
		{"a release that died is gone on with", releaseDied},
		{"no more floating IPs are a quota, before anything boots", floatingQuota},
		{"no more networks are a quota, before anything boots", networkQuota},
		{"the floating IPs that a run has fit into a quota that they fill", floatingHeld},
		{"the network that a run has fits into a quota that it fills", networkHeld},
		{"a pool that is used up is no capacity", poolDry},
		{"an unknown pool is named", unknownPool},
	} {
		one := func(t *testing.T) {
			b := fresh(t)
			b.t = t
			c.check(b)
			if left := b.Left(); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		}
		t.Run(c.name, func(t *testing.T) {
			if virtual {
				synctest.Test(t, one)
			} else {
				one(t)
			}
		})
	}
}

const ownKinds = "1 keypair, 1 network, 1 router, 1 securitygroup" // of a run as a whole, and 1 subnet

func floatingLogin(b *netBed) {
	t := b.t
	b.behind = true
	ms := b.provision("f", 2, b.floats)
	seen := map[string]bool{}
	for _, m := range ms {
		at, _, err := net.SplitHostPort(m.Access.SSH.Addr)
		if err != nil || at == m.Address || seen[at] || m.Address == "" {
			t.Errorf("%s: address %q, logged into at %q", m.Name, m.Address, m.Access.SSH.Addr)
		}
		seen[at] = true
		if b.find != nil && !b.find(m.Address, at) {
			t.Errorf("%s: %s does not lead to %s", m.Name, at, m.Address)
		}
	}
	want := "2 floatingip, " + ownKinds + ", 2 server, 1 subnet"
	if got := b.kinds(""); got != want {
		t.Errorf("got %s; want %s", got, want)
	}
	if got := b.kinds("f"); got != "2 floatingip, 2 server" {
		t.Errorf("the fleet has %s", got)
	}
	b.Backend = b.Reopen()
	for i, m := range b.provision("f", 2, b.floats) {
		if m.ID != ms[i].ID || m.Address != ms[i].Address || m.Access.SSH.Addr != ms[i].Access.SSH.Addr {
			t.Errorf("a new process: got %s at %s, %s; want %s at %s, %s", m.ID, m.Address, m.Access.SSH.Addr, ms[i].ID, ms[i].Address, ms[i].Access.SSH.Addr)
		}
	}
	if got := b.kinds(""); got != want {
		t.Errorf("after a new process: got %s; want %s", got, want)
	}
	left, err := b.Backend.Provider.(backends.Collector).Leftovers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, l := range left {
		if l.Owner.Run != novaRun {
			continue
		}
		count++
		if !l.Until.Equal(time.Unix(4e9, 0)) {
			t.Errorf("%+v: until %v", l.Object, l.Until)
		}
	}
	if count != 9 {
		t.Errorf("found %d leftovers (%v); want 9", count, left)
	}
	b.release("f")
	b.release("")
}

func shareNetwork(b *netBed) {
	t := b.t
	var all sync.WaitGroup
	for _, fleet := range []string{"f", "g", "h"} {
		all.Go(func() {
			if _, err := b.Backend.Provision(t.Context(), b.request(fleet, 1, b.Spec)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, step := range []struct{ release, want string }{
		{"", "1 keypair, 1 network, 1 router, 1 securitygroup, 3 server, 1 subnet"},
		{"f", "1 keypair, 1 network, 1 router, 1 securitygroup, 2 server, 1 subnet"},
		{"g", "1 keypair, 1 network, 1 router, 1 securitygroup, 1 server, 1 subnet"},
	} {
		if step.release != "" {
			b.release(step.release)
		}
		if got := b.kinds(""); got != step.want {
			t.Errorf("after the release of %q: got %s; want %s", step.release, got, step.want)
		}
	}
	b.release("h")
	if got := b.kinds(""); got != "" {
		t.Errorf("after the last fleet: %s", got)
	}
}

// dieAt lets the process die with its nth change, which arrives or not, and gives whether it did.
func (b *netBed) dieAt(n int, arrives bool, do func() error) bool {
	b.t.Helper()
	b.at.die(n, arrives)
	err := do()
	died := b.at.heal()
	b.Backend = b.Reopen()
	if died == (err == nil) {
		b.t.Errorf("died at change %d: %t, and got %v", n, died, err)
	}
	return died
}

func diedBetween(b *netBed) {
	for n := 1; ; n += b.stride {
		died := b.dieAt(n, n%2 == 1, func() error {
			_, err := b.Backend.Provision(b.t.Context(), b.request("f", 1, b.floats))
			return err
		})
		ms := b.provision("f", 1, b.floats)
		if got, want := b.kinds(""), "1 floatingip, "+ownKinds+", 1 server, 1 subnet"; got != want {
			b.t.Errorf("after change %d: got %s; want %s", n, got, want)
		}
		if at, _, _ := net.SplitHostPort(ms[0].Access.SSH.Addr); b.find != nil && !b.find(ms[0].Address, at) {
			b.t.Errorf("after change %d: the floating IP leads elsewhere", n)
		}
		b.release("")
		if !died {
			b.t.Logf("fewer than %d changes", n)
			return
		}
	}
}

func diedAndReleased(b *netBed) {
	for n := 1; ; n += b.stride {
		died := b.dieAt(n, true, func() error {
			_, err := b.Backend.Provision(b.t.Context(), b.request("f", 1, b.floats))
			return err
		})
		owned, err := b.Backend.Owned(b.t.Context(), backends.Owner{Run: novaRun})
		if err != nil {
			b.t.Fatal(err)
		}
		left, err := b.Backend.Provider.(backends.Collector).Leftovers(b.t.Context())
		if err != nil {
			b.t.Fatal(err)
		}
		left = slices.DeleteFunc(left, func(l backends.Leftover) bool { return l.Owner.Run != novaRun })
		if len(left) != len(owned) {
			b.t.Errorf("after change %d: owned are %v, left %v", n, owned, left)
		}
		b.release("")
		if !died {
			return
		}
	}
}

func releaseDied(b *netBed) {
	for n := 1; ; n += b.stride {
		b.provision("f", 1, b.floats)
		died := b.dieAt(n, n%2 == 0, func() error {
			return b.Backend.Release(b.t.Context(), backends.Owner{Run: novaRun, Fleet: "f"}, forgetful{})
		})
		b.release("f")
		if got := b.kinds(""); got != "" {
			b.t.Errorf("after change %d: %s", n, got)
		}
		if !died {
			return
		}
	}
}

func networkInUse(b *netBed) {
	b.provision("f", 1, b.floats)
	for _, path := range []string{"/networks/", "/subnets/", "/security-groups/", "/remove_router_interface"} {
		b.at.inUse(path, 2)
	}
	b.release("f")
	if n := b.at.heal(); n {
		b.t.Error("it died")
	}
	if got := b.kinds(""); got != "" {
		b.t.Errorf("left %s", got)
	}
}

// One machine: of two who ask at once, Neutron lets both have the last that a quota leaves.
func floatingQuota(b *netBed) { b.over("floatingip", 0, 1, b.floats) }

func networkQuota(b *netBed) { b.over("network", 0, 1, b.Spec) }

// over asks for more than a quota has room for.
func (b *netBed) over(quota string, more, machines int, spec json.RawMessage) {
	if b.quota == nil {
		backendtest.Skip(b.t, "openstack/cloud", "nobody sets quotas")
	}
	b.quota(quota, more)
	check := b.Backend.Provider.(backends.Checker)
	found, err := check.Check(b.t.Context(), "", []backends.Need{{Fleet: "f", Machines: b.request("f", machines, spec).Machines}})
	if err != nil || len(found) != 1 || found[0].Need != -1 || !strings.Contains(found[0].Msg, "quota") {
		b.t.Errorf("the check: got %v, %v", found, err)
	}
	_, err = b.Backend.Provision(b.t.Context(), b.request("f", machines, spec))
	refused(b.t, err, backends.Quota, "Quota exceeded for resources: ['"+quota+"']")
	if got := b.kinds(""); strings.Contains(got, "server") {
		b.t.Errorf("got %s", got)
	}
	b.release("")
}

func floatingHeld(b *netBed) { b.held("floatingip", "fleet f alone needs 1 floating IPs") }

func networkHeld(b *netBed) { b.held("network", "the plan needs 1 network") }

// held fills a quota, which leaves nothing for another run.
func (b *netBed) held(quota, lacks string) {
	if b.quota == nil {
		backendtest.Skip(b.t, "openstack/cloud", "nobody sets quotas")
	}
	check := func(run string) (out string) {
		found, err := b.Backend.Provider.(backends.Checker).Check(b.t.Context(), run, []backends.Need{{Fleet: "f", Machines: b.request("f", 1, b.floats).Machines}})
		if err != nil {
			b.t.Error(err)
		}
		for _, f := range found {
			out += f.Msg + "\n"
		}
		return out
	}
	b.quota(quota, 1)
	b.provision("f", 1, b.floats)
	if got := check(novaRun); got != "" {
		b.t.Errorf("the run itself: got %s", got)
	}
	if got := check("another"); !strings.Contains(got, lacks) {
		b.t.Errorf("another run: got %s", got)
	}
	b.release("f")
}

func poolDry(b *netBed) {
	if b.dry == nil {
		backendtest.Skip(b.t, "openstack/cloud", "nobody makes pools")
	}
	_, err := b.Backend.Provision(b.t.Context(), b.request("f", 2, b.dry()))
	refused(b.t, err, backends.Capacity, "No more IP addresses available on network")
	b.release("")
}

func unknownPool(b *netBed) {
	r := b.request("f", 1, with(b.t, b.Spec, "floatingPool", "nosuch"))
	found, err := b.Backend.Provider.(backends.Checker).Check(b.t.Context(), "", []backends.Need{{Fleet: "f", Machines: r.Machines}})
	if err != nil || len(found) == 0 || found[0].Field != "floatingPool" || !strings.Contains(found[0].Msg, `the cloud has no external network "nosuch" (known: `) {
		b.t.Errorf("the check: got %+v, %v", found, err)
	}
	_, err = b.Backend.Provision(b.t.Context(), r)
	refused(b.t, err, backends.Config, "nosuch")
	b.release("")
}
