package openstack_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2"
	gopherstack "github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/routers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/openstack"
	"dlx.dev/dlx/backends/sandbox"
)

// openWith opens a sandbox as users do, with further settings.
func openWith(t *testing.T, q sandbox.Quota, settings map[string]any, before ...func(*sandbox.Server)) (*backends.Backend, error) {
	t.Helper()
	s, err := sandbox.Start(t.Context(), sandbox.Config{State: t.TempDir(), Hosts: 4, Quota: q})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, f := range before {
		f(s)
	}
	file := filepath.Join(t.TempDir(), "clouds.yaml")
	if err := os.WriteFile(file, s.CloudsYAML(), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("OS_CLIENT_CONFIG_FILE", file)
	settings["cloud"] = sandbox.Cloud
	config, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	b, err := openstack.Open(t.Context(), backends.Options{Cloud: "c", Config: config, Secret: make([]byte, 32)})
	if err == nil {
		t.Cleanup(func() { _ = b.Close(t.Context()) })
	}
	return b, err
}

// makeMine makes a network "mine" as another client would, with a router to the external network or without.
func makeMine(t *testing.T, s *sandbox.Server, routed bool) {
	t.Helper()
	user, password, _, _ := s.Credentials()
	client, err := gopherstack.AuthenticatedClient(t.Context(), gophercloud.AuthOptions{IdentityEndpoint: s.URL(), Username: user, Password: password, DomainID: "default", TenantName: "sandbox"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := gopherstack.NewNetworkV2(client, gophercloud.EndpointOpts{Region: sandbox.Region})
	if err != nil {
		t.Fatal(err)
	}
	n, err := networks.Create(t.Context(), c, networks.CreateOpts{Name: "mine"}).Extract()
	if err != nil {
		t.Fatal(err)
	}
	sub, err := subnets.Create(t.Context(), c, subnets.CreateOpts{NetworkID: n.ID, IPVersion: 4, CIDR: "10.1.0.0/24"}).Extract()
	if err != nil {
		t.Fatal(err)
	}
	if !routed {
		return
	}
	r, err := routers.Create(t.Context(), c, routers.CreateOpts{Name: "r", GatewayInfo: &routers.GatewayInfo{NetworkID: "5a6e6462-6f78-4000-8000-000000000004"}}).Extract()
	if err == nil {
		_, err = routers.AddInterface(t.Context(), c, r.ID, routers.AddInterfaceOpts{SubnetID: sub.ID}).Extract()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestSettingsOfARunNetwork(t *testing.T) {
	for _, c := range []struct {
		net  openstack.RunNetwork
		want string
	}{
		{openstack.RunNetwork{}, `runNetwork.cidr: "" is no range of addresses such as "10.250.0.0/24"`},
		{openstack.RunNetwork{CIDR: "10.250.0.7/24"}, `runNetwork.cidr: "10.250.0.7/24" is no range`},
		{openstack.RunNetwork{CIDR: "10.250.0.0/24", DNS: []string{"ns"}}, `runNetwork.dns: "ns" is no IP address`},
	} {
		if _, err := openWith(t, sandbox.Quota{}, map[string]any{"runNetwork": c.net}); backends.ClassOf(err) != backends.Config || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v; want %s", c.net, err, c.want)
		}
	}
}

func TestCheckOfNetworks(t *testing.T) {
	const bare = `{"flavor": "sandbox.small", "image": "sandbox", "user": "sandbox"%s}`
	floats := func(pool string) string { return fmt.Sprintf(bare, `, "floatingPool": "`+pool+`"`) }
	own := func(external string) *openstack.RunNetwork {
		return &openstack.RunNetwork{CIDR: "10.250.0.0/24", External: external}
	}
	for _, c := range []struct {
		name         string
		net          *openstack.RunNetwork
		needs        []backends.Need
		quota        map[string]int
		mine, router bool // a network that the project has made itself
		want         []string
	}{
		{name: "all is well", net: own("public"), needs: []backends.Need{need(2, floats("public"))}},
		{name: "a pool by its ID", needs: []backends.Need{need(2, floats("5a6e6462-6f78-4000-8000-000000000004"))}},
		{name: "an unknown pool", needs: []backends.Need{need(2, floats("pubic"))}, want: []string{
			`0 -1 floatingPool: the cloud has no external network "pubic" (known: public)`}},
		{name: "a network that is no pool", needs: []backends.Need{need(2, floats("sandbox"))}, want: []string{
			`0 -1 floatingPool: the cloud has no external network "sandbox" (known: public)`}},
		{name: "no way to the pool", net: own(""), needs: []backends.Need{need(1, floats("public"))}, want: []string{
			`0 -1 floatingPool: no router leads from "public" to the run's own network: set runNetwork.external of the cloud`}},
		{name: "a way to elsewhere", net: own("nosuch"), needs: []backends.Need{need(1, floats("public"))}, want: []string{
			`0 -1 floatingPool: the router of the run's own network leads to "nosuch" (runNetwork.external), not to "public" (warning)`,
			`-1 -1 runNetwork.external: the cloud has no external network "nosuch" (known: public)`}},
		{name: "a network of the project without a router", mine: true, needs: []backends.Need{need(1, strings.Replace(floats("public"), "{", `{"network": "mine", `, 1))}, want: []string{
			`0 -1 floatingPool: no router leads from "public" to network "mine": a floating IP could not be given to a server there`}},
		{name: "a network of the project with a router", mine: true, router: true, needs: []backends.Need{need(1, strings.Replace(floats("public"), "{", `{"network": "mine", `, 1))}},
		{name: "a network of the cloud", needs: []backends.Need{need(1, strings.Replace(floats("public"), "{", `{"network": "sandbox", `, 1))}},
		{name: "nobody is on it", net: own("nosuch"), needs: []backends.Need{need(1, server), need(1, node)}, quota: map[string]int{"network": 0}},
		{name: "quotas", net: own("public"), needs: []backends.Need{need(2, floats("public")), need(1, floats("public"))},
			quota: map[string]int{"floatingip": 2, "network": 0, "router": 0, "security_group": 1, "subnet": 1}, want: []string{
				`-1 -1 : the plan needs 3 floating IPs at once (fleets f, f), the project's quota is 2 and 0 are in use: raise the quota, or bound by the testbed's capacity what is up at once`,
				`-1 -1 : the plan needs 1 network, the project's quota is 0 and 0 are in use: raise the quota, or remove what nobody needs`,
				`-1 -1 : the plan needs 1 security group, the project's quota is 1 and 1 are in use: raise the quota, or remove what nobody needs`,
				`-1 -1 : the plan needs 1 router, the project's quota is 0 and 0 are in use: raise the quota, or remove what nobody needs`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			settings := map[string]any{}
			if c.net != nil {
				settings["runNetwork"] = c.net
			}
			b, err := openWith(t, sandbox.Quota{Neutron: c.quota}, settings, func(s *sandbox.Server) {
				if c.mine {
					makeMine(t, s, c.router)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			found, err := b.Provider.(backends.Checker).Check(t.Context(), "", c.needs)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range found {
				text := fmt.Sprintf("%d %d %s: %s", f.Need, f.Machine, f.Field, f.Msg)
				if f.Warning {
					text += " (warning)"
				}
				got = append(got, text)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
