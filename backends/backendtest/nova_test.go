package backendtest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/backendtest"
	"dlx.dev/dlx/backends/sandbox"
)

// What Nova alone has, checked against the sandbox and, where there is one, a real cloud.

func TestNovaSandbox(t *testing.T) {
	t.Parallel()
	runNova(t, func(t *testing.T) *novaBed {
		w := &world{t: t, spec: server, poll: 20 * time.Millisecond}
		w.cfg = sandbox.Config{State: t.TempDir(), Hosts: 2, CPUsPerHost: 1, BuildTime: 50 * time.Millisecond, Quota: sandbox.Quota{Cores: 8192}}
		b := w.bed()
		user, password, _, _ := w.cloud.Credentials()
		client, _ := loginTo(t, gophercloud.AuthOptions{IdentityEndpoint: w.cloud.URL(), Username: user, Password: password, DomainID: "default", TenantName: "sandbox"},
			gophercloud.EndpointOpts{Region: sandbox.Region}, nil)
		flavor := func(name string) json.RawMessage { return with(t, json.RawMessage(server), "flavor", name) }
		return &novaBed{Bed: b, compute: client, hosts: 2, large: flavor("sandbox.medium"), full: 9, impossible: flavor("sandbox.impossible"),
			quota: func(name string, n int) {
				q := sandbox.Quota{Instances: 64, Cores: 8192, RAM: 512 << 10}
				switch name {
				case "key_pairs":
					q.KeyPairs = n
				case "server_groups":
					q.ServerGroups = n
				case "server_group_members":
					q.GroupMembers = n
				}
				w.cloud.SetQuota(q)
			}}
	})
}

func TestNovaCloud(t *testing.T) {
	t.Parallel()
	if why := noReal(); why != "" {
		backendtest.Run(t, backendtest.World{Name: "openstack/cloud", Skip: why})
		return
	}
	runNova(t, func(t *testing.T) *novaBed {
		w := openReal(t)
		b := &novaBed{Bed: w.bed(), compute: w.compute, hosts: w.Hosts, large: with(t, w.Machine, "flavor", w.Large), full: 2, impossible: with(t, w.Machine, "flavor", w.Impossible)}
		if w.admin != nil {
			b.quota = w.quota
		}
		return b
	})
}

// novaBed is a fresh cloud with a Nova.
type novaBed struct {
	*backendtest.Bed
	compute    *gophercloud.ServiceClient
	hosts      int
	large      json.RawMessage // a machine
	full       int             // so many of which fit no host
	impossible json.RawMessage // fits none
	quota      func(name string, n int)
}

func runNova(t *testing.T, fresh func(*testing.T) *novaBed) {
	for _, c := range []struct {
		name  string
		check func(*testing.T, *novaBed)
	}{
		{"one too many for different hosts is no capacity, in the cloud's words", tooManyApart},
		{"one too many for a host is no capacity, in the cloud's words", tooManyTogether},
		{"a server that fits no host fails at once", fitsNowhere},
		{"no more keypairs are a quota", func(t *testing.T, b *novaBed) { b.over(t, "key_pairs", fillKeypairs, backends.AnyHosts) }},
		{"no more server groups are a quota", func(t *testing.T, b *novaBed) { b.over(t, "server_groups", fillGroups, backends.DifferentHosts) }},
		{"no more servers in a group are a quota", func(t *testing.T, b *novaBed) { b.over(t, "server_group_members", noFill, backends.SameHost) }},
		{"a keypair of another key is named", foreignKeypair},
		{"a server group that is left is taken, and removed", leftGroup},
		{"servers are found by their tags", foundByTags},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := fresh(t)
			c.check(t, b)
			if left := b.Left(); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

const novaRun = "r20180319"

// request asks for n machines of one kind.
func (b *novaBed) request(fleet string, n int, spec json.RawMessage, how backends.Hosts) backends.FleetRequest {
	r := backends.FleetRequest{Owner: backends.Owner{Run: novaRun, Fleet: fleet}, Hosts: how, Ledger: forgetful{}, Until: time.Unix(4e9, 0)}
	for i := range n {
		r.Machines = append(r.Machines, backends.MachineRequest{Name: fmt.Sprintf("m%d", i), Spec: spec})
	}
	return r
}

func (b *novaBed) release(t *testing.T) {
	t.Helper()
	if err := b.Backend.Release(t.Context(), backends.Owner{Run: novaRun}, forgetful{}); err != nil {
		t.Error(err)
	}
}

// refused demands an error of a class with some words.
func refused(t *testing.T, err error, class backends.Class, words ...string) {
	t.Helper()
	if err == nil || backends.ClassOf(err) != class {
		t.Errorf("got class %q (%v); want %q", backends.ClassOf(err), err, class)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("got %v; want it to say %q", err, w)
		}
	}
}

func tooManyApart(t *testing.T, b *novaBed) {
	_, err := b.Backend.Provision(t.Context(), b.request("f", b.hosts+1, b.Spec, backends.DifferentHosts))
	// Either none was found, or none of those that were would do: the scheduler's knowledge of groups is late.
	refused(t, err, backends.Capacity, "hosts available")
	b.release(t)
}

func tooManyTogether(t *testing.T, b *novaBed) {
	ms, err := b.Backend.Provision(t.Context(), b.request("f", 2, b.large, backends.DifferentHosts))
	if err != nil {
		t.Errorf("on two hosts: %v", err)
	} else if ms[0].Host == "" || ms[0].Host == ms[1].Host {
		t.Errorf("got hosts %q and %q", ms[0].Host, ms[1].Host)
	}
	b.release(t)
	_, err = b.Backend.Provision(t.Context(), b.request("g", b.full, b.large, backends.SameHost))
	refused(t, err, backends.Capacity, "No valid host was found.")
	b.release(t)
}

func fitsNowhere(t *testing.T, b *novaBed) {
	began := time.Now()
	_, err := b.Backend.Provision(t.Context(), b.request("f", 1, b.impossible, backends.AnyHosts))
	refused(t, err, backends.Capacity, "dlx-"+novaRun+"-f-m0", "ERROR", "No valid host was found.")
	if d := time.Since(began); d > time.Minute {
		t.Errorf("it took %v", d)
	}
	b.release(t)
}

// over asks for two machines where a quota has room for one thing less than they take.
func (b *novaBed) over(t *testing.T, quota string, fill func(*testing.T, *novaBed) (empty func()), how backends.Hosts) {
	if b.quota == nil {
		backendtest.Skip(t, "openstack/cloud", "nobody sets quotas")
	}
	b.quota(quota, 1)
	empty := fill(t, b)
	_, err := b.Backend.Provision(t.Context(), b.request("f", 2, b.Spec, how))
	refused(t, err, backends.Quota, "Quota exceeded, too many", "403")
	b.release(t)
	empty()
}

func noFill(*testing.T, *novaBed) func() { return func() {} }

const somePublicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"

func fillKeypairs(t *testing.T, b *novaBed) func() {
	at := b.compute.ServiceURL("os-keypairs")
	askNova(t, b.compute, http.MethodPost, at, map[string]any{"keypair": map[string]any{"name": "other", "public_key": somePublicKey}}, nil)
	return func() { askNova(t, b.compute, http.MethodDelete, at+"/other", nil, nil) }
}

func fillGroups(t *testing.T, b *novaBed) func() {
	id := b.makeGroup(t, "other")
	return func() {
		askNova(t, b.compute, http.MethodDelete, b.compute.ServiceURL("os-server-groups", id), nil, nil)
	}
}

// makeGroup makes a server group as another client would.
func (b *novaBed) makeGroup(t *testing.T, name string) (id string) {
	t.Helper()
	var made struct {
		Group struct {
			ID string `json:"id"`
		} `json:"server_group"`
	}
	askNova(t, b.compute, http.MethodPost, b.compute.ServiceURL("os-server-groups"),
		map[string]any{"server_group": map[string]any{"name": name, "policies": []string{"anti-affinity"}}}, &made)
	return made.Group.ID
}

func foreignKeypair(t *testing.T, b *novaBed) {
	const name = "dlx-" + novaRun
	at := b.compute.ServiceURL("os-keypairs")
	askNova(t, b.compute, http.MethodPost, at, map[string]any{"keypair": map[string]any{"name": name, "public_key": somePublicKey}}, nil)
	_, err := b.Backend.Provision(t.Context(), b.request("f", 1, b.Spec, backends.AnyHosts))
	refused(t, err, backends.Config, name, "it exists with another key")
	b.release(t)
}

// A process that dies between the making of a group and of its servers leaves the group alone.
func leftGroup(t *testing.T, b *novaBed) {
	id := b.makeGroup(t, "dlx."+novaRun+".f")
	ms, err := b.Backend.Provision(t.Context(), b.request("f", 2, b.Spec, backends.DifferentHosts))
	if err != nil {
		t.Fatal(err)
	}
	if ms[0].Host == "" || ms[0].Host == ms[1].Host {
		t.Errorf("got hosts %q and %q", ms[0].Host, ms[1].Host)
	}
	var shown struct {
		Group struct {
			Members  []string `json:"members"`
			Policies []string `json:"policies"`
		} `json:"server_group"`
	}
	askNova(t, b.compute, http.MethodGet, b.compute.ServiceURL("os-server-groups", id), nil, &shown)
	slices.Sort(shown.Group.Members)
	want := []string{ms[0].ID, ms[1].ID}
	slices.Sort(want)
	if !slices.Equal(shown.Group.Members, want) || !slices.Equal(shown.Group.Policies, []string{"anti-affinity"}) {
		t.Errorf("got members %v, policies %v; want %v", shown.Group.Members, shown.Group.Policies, want)
	}
	b.release(t)
}

func foundByTags(t *testing.T, b *novaBed) {
	ms, err := b.Backend.Provision(t.Context(), b.request("f", 2, b.Spec, backends.AnyHosts))
	if err != nil {
		t.Fatal(err)
	}
	find := func(tags string) []string {
		var list struct {
			Servers []struct {
				ID       string            `json:"id"`
				Metadata map[string]string `json:"metadata"`
			} `json:"servers"`
		}
		askNova(t, b.compute, http.MethodGet, b.compute.ServiceURL("servers", "detail")+"?"+url.Values{"tags": {tags}}.Encode(), nil, &list)
		var ids []string
		for _, s := range list.Servers {
			ids = append(ids, s.ID)
			if s.Metadata["dlx-fleet"] != "f" || s.Metadata["dlx-until"] != "4000000000" {
				t.Errorf("got metadata %v", s.Metadata)
			}
		}
		slices.Sort(ids)
		return ids
	}
	want := []string{ms[0].ID, ms[1].ID}
	slices.Sort(want)
	for tags, want := range map[string][]string{
		"dlx,dlx-run=" + novaRun:   want,
		"dlx-fleet=f":              want,
		"dlx-until=4000000000":     want,
		"dlx,dlx-run=" + "another": nil,
	} {
		if got := find(tags); !slices.Equal(got, want) {
			t.Errorf("tags %s: got %v; want %v", tags, got, want)
		}
	}
	b.release(t)
}

// forgetful is a ledger that remembers nothing.
type forgetful struct{}

func (forgetful) Intend(context.Context, backends.Owner, backends.Object) error { return nil }
func (forgetful) Made(context.Context, backends.Owner, backends.Object) error   { return nil }
func (forgetful) Gone(context.Context, backends.Owner, backends.Object) error   { return nil }
