package backendtest_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	gopherstack "github.com/gophercloud/gophercloud/v2/openstack"
	"golang.org/x/crypto/ssh"

	"dlx.dev/dlx/backends/backendtest"
	"dlx.dev/dlx/backends/openstack"
	"dlx.dev/dlx/backends/sandbox"
)

// A cloud whose machines have no address to be reached at but from its jump host.
func TestNovaBehindAJumpHost(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, backendtest.World{Name: "nova/jump", Virtual: true, New: jumpBed})
}

func jumpBed(t *testing.T) *backendtest.Bed {
	w := virtualWorld(t, server, 4)
	l, err := w.net.Listen("jump:22")
	if err != nil {
		t.Fatal(err)
	}
	host, _ := sshKey(t, 'j')
	mine, key := sshKey(t, 'm')
	jump := sandbox.StartJump(l, host, string(ssh.MarshalAuthorizedKey(mine.PublicKey())), w.net.DialContext)
	file := filepath.Join(t.TempDir(), "id_ed25519")
	if err := os.WriteFile(file, key, 0o600); err != nil {
		t.Fatal(err)
	}
	w.more = func(p *openstack.Params) {
		p.Jump = &openstack.Jump{Address: "jump", User: sandbox.User, HostKey: string(ssh.MarshalAuthorizedKey(host.PublicKey())), Key: file}
		p.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr != "jump:22" {
				return nil, errors.New("no route to host")
			}
			return w.net.DialContext(ctx, network, addr)
		}
	}
	b := w.bed()
	t.Cleanup(jump.Close) // before the machines behind it
	b.Drop = jump.Drop
	b.Left = func() []string { // the jump host listens still
		var out []string
		for _, l := range w.left() {
			if l != "listener jump:22" {
				out = append(out, l)
			}
		}
		return out
	}
	return b
}

// Networks of the sandbox: machines at fixed addresses cannot be reached, as behind a router.
func TestNetworksSandbox(t *testing.T) {
	t.Parallel()
	runNetworks(t, true, func(t *testing.T) *netBed {
		own := with(t, json.RawMessage(server), "network", "")
		w := virtualWorld(t, string(own), 4)
		w.cfg.Latency, w.cfg.Floating = time.Second, 3
		b := &netBed{at: newBetween(&http.Transport{DialContext: w.net.DialContext, MaxIdleConnsPerHost: 64}), stride: 1, floats: with(t, own, "floatingPool", sandbox.External)}
		w.via = b.at
		w.more = func(p *openstack.Params) {
			p.RunNetwork = &openstack.RunNetwork{CIDR: "10.250.0.0/24", External: sandbox.External, DNS: []string{"192.0.2.53"}}
			p.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				if floats := strings.HasPrefix(addr, "127.78."); !floats && b.behind {
					return nil, errors.New("no route to host")
				}
				return w.net.DialContext(ctx, network, addr)
			}
		}
		b.Bed = w.bed()
		b.quota = func(name string, more int) {
			q := w.cfg.Quota
			q.Instances, q.Cores, q.RAM = 64, 512, 512<<10
			q.Neutron = map[string]int{name: more}
			w.cloud.SetQuota(q)
		}
		b.dry = func() json.RawMessage {
			r := b.request("other", 2, b.floats)
			if _, err := b.Backend.Provision(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			return b.floats
		}
		return b
	})
}

// Networks of a real cloud. Floating IPs are records there, where no agent makes them lead anywhere: the
// test asks Neutron to which fixed address they would.
func TestNetworksCloud(t *testing.T) {
	t.Parallel()
	if why := noReal(); why != "" {
		backendtest.Run(t, backendtest.World{Name: "openstack/cloud", Skip: why})
		return
	}
	runNetworks(t, false, func(t *testing.T) *netBed { return (&realNeutron{realCloud: openReal(t)}).bed() })
}

// realNeutron is a real cloud with its Neutron.
type realNeutron struct {
	*realCloud
	network *gophercloud.ServiceClient
	pool    string // name of an external network
}

func (w *realNeutron) bed() *netBed {
	t := w.t
	w.network = w.neutron(w.compute)
	var out struct {
		Networks []struct {
			Name string `json:"name"`
		} `json:"networks"`
	}
	askNova(t, w.network, http.MethodGet, w.network.ServiceURL("networks")+"?router:external=true", nil, &out)
	if len(out.Networks) == 0 {
		backendtest.Skip(t, "openstack/cloud", "it has no external network")
	}
	w.pool = out.Networks[0].Name
	own := with(t, w.Machine, "network", "")
	b := &netBed{at: newBetween(w.meddler), stride: 4, floats: with(t, own, "floatingPool", w.pool)}
	w.params.HTTP = b.at
	w.params.RunNetwork = &openstack.RunNetwork{CIDR: "10.250.0.0/24", External: w.pool, DNS: []string{"192.0.2.53"}}
	b.Bed = w.alive("server", own)
	direct := w.params.Dial
	w.params.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		if fixed := w.fixed(host); fixed != "" {
			host = fixed
		} else if b.behind {
			return nil, errors.New("no route to host")
		}
		return direct(ctx, network, net.JoinHostPort(host, port))
	}
	b.Backend = b.Reopen()
	b.find = func(fixed, floating string) bool { return w.fixed(floating) == fixed }
	left := b.Left
	b.Left = func() []string { return append(left(), w.leftNetworks()...) }
	if w.admin != nil {
		b.quota, b.dry = w.more, func() json.RawMessage { return with(t, own, "floatingPool", w.smallPool()) }
	}
	return b
}

func (w *realNeutron) neutron(c *gophercloud.ServiceClient) *gophercloud.ServiceClient {
	w.t.Helper()
	n, err := gopherstack.NewNetworkV2(c.ProviderClient, w.params.Endpoint)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// fixed is the fixed address that a floating one leads to; "" for others.
func (w *realNeutron) fixed(floating string) string {
	var out struct {
		IPs []struct {
			Fixed string `json:"fixed_ip_address"`
		} `json:"floatingips"`
	}
	askNova(w.t, w.network, http.MethodGet, w.network.ServiceURL("floatingips")+"?floating_ip_address="+floating, nil, &out)
	if len(out.IPs) == 0 {
		return ""
	}
	return out.IPs[0].Fixed
}

// more sets one of the project's quotas to what there is and so many more; the test's end takes it back.
func (w *realNeutron) more(name string, more int) {
	admin := w.neutron(w.admin)
	at := admin.ServiceURL("quotas", w.project)
	var out struct {
		Quota map[string]struct {
			Used int `json:"used"`
		} `json:"quota"`
	}
	askNova(w.t, admin, http.MethodGet, at+"/details.json", nil, &out)
	askNova(w.t, admin, http.MethodPut, at, map[string]any{"quota": map[string]any{name: out.Quota[name].Used + more}}, nil)
	w.t.Cleanup(func() { askNova(w.t, admin, http.MethodDelete, at, nil, nil) })
}

// smallPool makes an external network with one address.
func (w *realNeutron) smallPool() string {
	admin := w.neutron(w.admin)
	const name = "small-pool"
	var made struct {
		Network struct {
			ID string `json:"id"`
		} `json:"network"`
	}
	askNova(w.t, admin, http.MethodPost, admin.ServiceURL("networks"), map[string]any{"network": map[string]any{"name": name, "router:external": true}}, &made)
	w.t.Cleanup(func() {
		askNova(w.t, admin, http.MethodDelete, admin.ServiceURL("networks", made.Network.ID), nil, nil)
	})
	askNova(w.t, admin, http.MethodPost, admin.ServiceURL("subnets"), map[string]any{"subnet": map[string]any{"network_id": made.Network.ID, "ip_version": 4,
		"cidr": "198.51.100.0/29", "enable_dhcp": false, "gateway_ip": nil, "allocation_pools": []any{map[string]any{"start": "198.51.100.2", "end": "198.51.100.2"}}}}, nil)
	return name
}

// leftNetworks lists what of Neutron's has a name or description of dlx.
func (w *realNeutron) leftNetworks() []string {
	var out []string
	for _, path := range []string{"floatingips", "routers", "subnets", "networks", "security-groups"} {
		var body map[string][]struct {
			Name        string `json:"name"`
			Description string `json:"description"`
		}
		askNova(w.t, w.network, http.MethodGet, w.network.ServiceURL(path)+"?project_id="+w.project, nil, &body)
		for _, o := range body[strings.ReplaceAll(path, "-", "_")] {
			if strings.HasPrefix(o.Name, "dlx-") || strings.HasPrefix(o.Description, "dlx,") {
				out = append(out, path+" "+o.Name+" "+o.Description)
			}
		}
	}
	return out
}

// sshKey is a key that is the same each time, and its file.
func sshKey(t *testing.T, seed byte) (ssh.Signer, []byte) {
	t.Helper()
	private := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(seed)), ed25519.SeedSize)))
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	return s, pem.EncodeToMemory(block)
}
