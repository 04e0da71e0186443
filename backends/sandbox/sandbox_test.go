package sandbox_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dlx.dev/dlx/backends/pipenet"
	"dlx.dev/dlx/backends/sandbox"
)

// client speaks plain HTTP with a sandbox, as curl would.
type client struct {
	t     *testing.T
	s     *sandbox.Server
	http  *http.Client
	token string
	nova  string // microversion
}

// start starts a sandbox without sockets; it is closed when the test ends.
func start(t *testing.T, cfg sandbox.Config) *client {
	t.Helper()
	n := &pipenet.Network{}
	l, err := n.Listen("api:80")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listener, cfg.Listen, cfg.Port = l, n.Listen, 22
	if cfg.State == "" {
		cfg.State = t.TempDir()
	}
	s, err := sandbox.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{DialContext: n.DialContext}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		for _, g := range s.Groups() { // of machines that the test did not delete
			if err := os.Remove(g); err != nil {
				t.Error(err)
			}
		}
	})
	return &client{t: t, s: s, http: &http.Client{Transport: tr}, nova: "2.52"}
}

// do sends a request and gives status and body.
func (c *client) do(method, path, body string) (int, string) {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, "http://api:80"+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("X-Auth-Token", c.token)
	r.Header.Set("OpenStack-API-Version", "compute "+c.nova)
	r.Header.Set("X-OpenStack-Ironic-API-Version", "1.56")
	resp, err := c.http.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	if t := resp.Header.Get("X-Subject-Token"); t != "" {
		c.token = t
	}
	return resp.StatusCode, string(b)
}

// want checks a status and a part of the body.
func (c *client) want(status int, text, method, path, body string) string {
	c.t.Helper()
	got, b := c.do(method, path, body)
	if got != status || !strings.Contains(b, text) {
		c.t.Errorf("%s %s %s\ngot %d %s\nwant %d %s", method, path, body, got, b, status, text)
	}
	return b
}

func (c *client) login() {
	c.t.Helper()
	user, password, _, _ := c.s.Credentials()
	c.want(201, `"catalog"`, "POST", "/identity/v3/auth/tokens", passwordAuth(user, password))
}

func passwordAuth(user, password string) string {
	return fmt.Sprintf(`{"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": %q, "password": %q, "domain": {"id": "default"}}}}, "scope": {"project": {"name": "sandbox"}}}}`, user, password)
}

func appAuth(id, secret, scope string) string {
	return fmt.Sprintf(`{"auth": {"identity": {"methods": ["application_credential"], "application_credential": {"id": %q, "secret": %q}}%s}}`, id, secret, scope)
}

const (
	image   = "5a6e6462-6f78-4000-8000-000000000001"
	network = "5a6e6462-6f78-4000-8000-000000000002"
)

// server is a body for POST /servers, with more fields.
func server(name, more string) string {
	return fmt.Sprintf(`{"server": {"name": %q, "flavorRef": "1", "imageRef": %q, "networks": "auto"%s}}`, name, image, more)
}

func (c *client) make(name, more string) string {
	c.t.Helper()
	var out struct {
		Server struct {
			ID string `json:"id"`
		} `json:"server"`
	}
	b := c.want(202, `"id"`, "POST", "/compute/v2.1/servers", server(name, more))
	if err := json.Unmarshal([]byte(b), &out); err != nil {
		c.t.Fatal(err)
	}
	return out.Server.ID
}

func TestKeystone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, sandbox.Config{TokenLife: time.Hour})
		const refused = "The request you have made requires authentication."
		c.want(300, `"v3.14"`, "GET", "/identity/", "")
		c.want(200, `"v3.14"`, "GET", "/identity/v3/", "")
		c.want(401, refused, "GET", "/compute/v2.1/servers", "")
		c.want(401, refused, "POST", "/identity/v3/auth/tokens", passwordAuth("sandbox", "wrong"))
		c.want(401, refused, "POST", "/identity/v3/auth/tokens", `{}`)
		c.want(400, "Expecting to find auth", "POST", "/identity/v3/auth/tokens", `{`)
		_, _, id, secret := c.s.Credentials()
		c.want(401, "cannot request a scope", "POST", "/identity/v3/auth/tokens", appAuth(id, secret, `, "scope": {"project": {"id": "x"}}`))
		c.want(201, `"expires_at"`, "POST", "/identity/v3/auth/tokens", appAuth(id, secret, ""))
		c.want(200, "servers", "GET", "/compute/v2.1/servers", "")
		time.Sleep(time.Hour + time.Second)
		c.want(401, refused, "GET", "/compute/v2.1/servers", "")
		c.login()
		c.want(200, "servers", "GET", "/compute/v2.1/servers", "")
		c.s.Revoke()
		c.want(401, refused, "GET", "/compute/v2.1/servers", "")
	})
}

func TestWhatIsNotServedSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, sandbox.Config{})
		c.login()
		c.want(501, "the sandbox does not serve GET /compute/v2.1/os-hypervisors", "GET", "/compute/v2.1/os-hypervisors", "")
		c.want(501, "the sandbox does not serve POST /network/v2.0/ports", "POST", "/network/v2.0/ports", "{}")
		c.want(501, "unknown field", "POST", "/compute/v2.1/servers", server("a", `, "block_device_mapping_v2": []`))
		c.want(501, "one server a request", "POST", "/compute/v2.1/servers", server("a", `, "min_count": 2, "max_count": 2`))
		c.want(501, "no scheduler hint but group: same_host", "POST", "/compute/v2.1/servers", `{"server": {}, "os:scheduler_hints": {"same_host": ["x"]}}`)
	})
}

func TestQuotasAreShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, sandbox.Config{Quota: sandbox.Quota{Instances: 3, KeyPairs: 7}})
		c.login()
		c.make("a", "")
		c.want(200, `"instances":3`, "GET", "/compute/v2.1/os-quota-sets/x", "")
		c.want(200, `"key_pairs":7`, "GET", "/compute/v2.1/os-quota-sets/x/defaults", "")
		c.want(200, `"instances":{"in_use":1,"limit":3,"reserved":0}`, "GET", "/compute/v2.1/os-quota-sets/x/detail", "")
		c.want(200, `"port":-1`, "GET", "/network/v2.0/quotas/x", "")
		c.want(200, `"port":{"limit":-1,"reserved":0,"used":1}`, "GET", "/network/v2.0/quotas/x/details.json", "")
		c.want(200, `"extra_specs":{"resources:VGPU":"2"}`, "GET", "/compute/v2.1/flavors/1/os-extra_specs", "")
		c.want(200, `"maxServerGroupMembers":10,"maxServerGroups":10,`, "GET", "/compute/v2.1/limits", "")
		c.want(404, "Flavor 99 could not be found", "GET", "/compute/v2.1/flavors/99/os-extra_specs", "")
	})
}

func TestNovaRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, sandbox.Config{})
		c.login()
		post := func(status int, text, body string) {
			t.Helper()
			c.want(status, text, "POST", "/compute/v2.1/servers", body)
		}
		post(400, "Flavor nosuch could not be found.", strings.Replace(server("a", ""), `"flavorRef": "1"`, `"flavorRef": "nosuch"`, 1))
		post(400, "Can not find requested image", strings.Replace(server("a", ""), image, network, 1))
		post(400, "Network nosuch could not be found.", strings.Replace(server("a", ""), `"auto"`, `[{"uuid": "nosuch"}]`, 1))
		post(400, "'networks' is a required property", strings.Replace(server("a", ""), `, "networks": "auto"`, "", 1))
		post(400, "Invalid key_name provided.", server("a", `, "key_name": "nosuch"`))
		post(400, "availability zone is not available", server("a", `, "availability_zone": "mars"`))
		post(400, "user_data. Value: ", server("a", fmt.Sprintf(`, "user_data": %q`, base64.StdEncoding.EncodeToString(make([]byte, 70000)))))
		post(400, "is not a 'base64'", server("a", `, "user_data": "%"`))
		post(400, "tags", server("a", `, "tags": ["a,b"]`))
		post(400, "name", server("", ""))
		c.want(404, "Instance nosuch could not be found.", "GET", "/compute/v2.1/servers/nosuch", "")
		c.want(404, "Instance nosuch could not be found.", "DELETE", "/compute/v2.1/servers/nosuch", "")
		c.want(404, "Flavor nosuch could not be found.", "GET", "/compute/v2.1/flavors/nosuch", "")
		c.want(404, "No image found", "GET", "/image/v2/images/nosuch", "")
		c.want(404, "Network nosuch could not be found.", "GET", "/network/v2.0/networks/nosuch", "")
		c.s.SetQuota(sandbox.Quota{Instances: 1, Cores: 9, RAM: 4096})
		c.make("one", "")
		post(403, "Quota exceeded for instances: Requested 1, but already used 1 of 1 instances", server("two", ""))
		c.want(200, `"totalInstancesUsed":1`, "GET", "/compute/v2.1/limits", "")

		c.nova = "2.51"
		post(400, "Additional properties are not allowed ('tags' was unexpected)", server("a", `, "tags": ["x"]`))
		c.nova = "2.999"
		c.want(406, "Version 2.999 is not supported by the API. Minimum is 2.1 and maximum is 2.93.", "GET", "/compute/v2.1/servers", "")
		c.nova = "two"
		c.want(400, "invalid format", "GET", "/compute/v2.1/servers", "")
	})
}

func TestServersGoThroughTheirStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, sandbox.Config{BuildTime: time.Minute, DeleteTime: time.Minute})
		c.login()
		id := c.make("a", `, "tags": ["x", "y"], "metadata": {"k": "v"}`)
		path := "/compute/v2.1/servers/" + id
		c.want(200, `"status":"BUILD"`, "GET", path, "")
		time.Sleep(61 * time.Second)
		b := c.want(200, `"status":"ACTIVE"`, "GET", path, "")
		for _, part := range []string{`"addr":"127.77.`, `"original_name":"sandbox.small"`, `"k":"v"`, `"tags":["x","y"]`, `"sandbox_pinned_by"`} {
			if !strings.Contains(b, part) {
				t.Errorf("%s is not in %s", part, b)
			}
		}
		c.want(200, `["x","y"]`, "GET", path+"/tags", "")
		c.want(200, "login:", "POST", path+"/action", `{"os-getConsoleOutput": {"length": 1}}`)
		c.want(501, "no server action", "POST", path+"/action", `{"reboot": {}}`)
		c.want(204, "", "DELETE", path, "")
		c.want(200, `"OS-EXT-STS:task_state":"deleting"`, "GET", path, "")
		time.Sleep(61 * time.Second)
		c.want(404, "could not be found", "GET", path, "")

		big := c.want(202, "id", "POST", "/compute/v2.1/servers", strings.Replace(server("big", ""), `"flavorRef": "1"`, `"flavorRef": "2"`, 1))
		_ = big
		c.s.SetQuota(sandbox.Quota{Instances: 9, Cores: 9999, RAM: 9999})
		c.want(202, "id", "POST", "/compute/v2.1/servers", strings.Replace(server("impossible", ""), `"flavorRef": "1"`, `"flavorRef": "3"`, 1))
		c.want(200, `"status":"ERROR"`, "GET", "/compute/v2.1/servers/detail?name=impossible", "")
		if _, body := c.do("GET", "/compute/v2.1/servers/detail?name=impossible", ""); strings.Contains(body, `"fault"`) {
			t.Errorf("the fault is there with the state: %s", body)
		}
		time.Sleep(time.Second)
		c.want(200, "No valid host was found.", "GET", "/compute/v2.1/servers/detail?name=impossible", "")
	})
}

func TestListsAreFilteredAndPaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, sandbox.Config{BuildTime: time.Hour})
		c.login()
		for i := range 5 {
			c.make(fmt.Sprintf("s%d", i), fmt.Sprintf(`, "tags": ["all", "t%d"]`, i))
			time.Sleep(time.Second)
		}
		names := func(query string) string {
			t.Helper()
			var out struct {
				Servers []struct {
					Name string `json:"name"`
				} `json:"servers"`
			}
			b := c.want(200, "servers", "GET", "/compute/v2.1/servers/detail?"+query, "")
			if err := json.Unmarshal([]byte(b), &out); err != nil {
				t.Fatal(err)
			}
			var all []string
			for _, s := range out.Servers {
				all = append(all, s.Name)
			}
			return strings.Join(all, " ")
		}
		for query, want := range map[string]string{
			"":                                   "s4 s3 s2 s1 s0",
			"tags=all,t2":                        "s2",
			"tags-any=t1,t2":                     "s2 s1",
			"not-tags=all,t3":                    "s4 s2 s1 s0",
			"not-tags-any=t0,t1":                 "s4 s3 s2",
			"name=" + url.QueryEscape("^s[01]$"): "s1 s0",
			"status=active":                      "",
			"limit=2":                            "s4 s3",
		} {
			if got := names(query); got != want {
				t.Errorf("%s: got %q; want %q", query, got, want)
			}
		}
		b := c.want(200, `"rel":"next"`, "GET", "/compute/v2.1/servers?limit=2&tags=all", "")
		var page struct {
			Links []struct {
				Href string `json:"href"`
			} `json:"servers_links"`
		}
		if err := json.Unmarshal([]byte(b), &page); err != nil {
			t.Fatal(err)
		}
		next, err := url.Parse(page.Links[0].Href)
		if err != nil {
			t.Fatal(err)
		}
		if got := names(next.RawQuery); got != "s2 s1" {
			t.Errorf("the next page: got %q", got)
		}
		c.want(400, "marker", "GET", "/compute/v2.1/servers?marker=nosuch", "")
		c.want(400, "name", "GET", "/compute/v2.1/servers?name=(", "")
	})
}

func TestKeypairs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, sandbox.Config{})
		c.login()
		const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPYzMfid+s0pV+BhWpYpci/TsBruBH3RRvOzf+XoOyki x"
		body := fmt.Sprintf(`{"keypair": {"name": "k", "public_key": %q}}`, key)
		c.want(201, "fingerprint", "POST", "/compute/v2.1/os-keypairs", body)
		c.want(409, "Key pair 'k' already exists.", "POST", "/compute/v2.1/os-keypairs", body)
		c.want(400, "Keypair data is invalid", "POST", "/compute/v2.1/os-keypairs", `{"keypair": {"name": "l", "public_key": "x"}}`)
		c.want(201, "BEGIN OPENSSH PRIVATE KEY", "POST", "/compute/v2.1/os-keypairs", `{"keypair": {"name": "l"}}`)
		c.want(200, key, "GET", "/compute/v2.1/os-keypairs", "")
		c.want(204, "", "DELETE", "/compute/v2.1/os-keypairs/k", "")
		c.want(404, "Keypair k not found", "DELETE", "/compute/v2.1/os-keypairs/k", "")
		c.want(404, "Keypair k not found", "GET", "/compute/v2.1/os-keypairs/k", "")
	})
}

func TestIronic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, sandbox.Config{Hosts: 1, BuildTime: time.Minute, DeleteTime: time.Minute})
		c.login()
		const base = "/baremetal/v1"
		c.want(200, `"v1"`, "GET", base+"/", "")
		c.want(404, `Node nosuch could not be found.`, "GET", base+"/nodes/nosuch", "")
		c.want(200, `"provision_state":"available"`, "GET", base+"/nodes/node1", "")
		c.want(201, "allocating", "POST", base+"/allocations", `{"name": "a", "resource_class": "baremetal"}`)
		c.want(409, "already exists", "POST", base+"/allocations", `{"name": "a", "resource_class": "baremetal"}`)
		time.Sleep(time.Second) // Ironic and the sandbox keep no order among those that wait
		c.want(200, `"state":"active"`, "GET", base+"/allocations/a", "")
		c.want(201, "", "POST", base+"/allocations", `{"name": "b", "resource_class": "baremetal"}`)
		time.Sleep(time.Second)
		c.want(200, "no available nodes match the resource class baremetal", "GET", base+"/allocations/b", "")
		state := func(target string, more string) string { return fmt.Sprintf(`{"target": %q%s}`, target, more) }
		c.want(400, "Missing are: ['image_source']", "PUT", base+"/nodes/node1/states/provision", state("active", ""))
		c.want(200, "image_source", "PATCH", base+"/nodes/node1", `[{"op": "add", "path": "/instance_info/image_source", "value": "x"}]`)
		c.want(501, "does not serve the patch", "PATCH", base+"/nodes/node1", `[{"op": "add", "path": "/driver", "value": "x"}]`)
		c.want(202, "", "PUT", base+"/nodes/node1/states/provision", state("active", ""))
		c.want(409, "is locked by host", "PUT", base+"/nodes/node1/states/provision", state("deleted", ""))
		time.Sleep(61 * time.Second)
		c.want(200, `"provision_state":"active"`, "GET", base+"/nodes/node1", "")
		c.want(409, "Cannot remove allocation", "DELETE", base+"/allocations/a", "")
		c.want(400, `while it is in state \\\"active\\\"`, "PUT", base+"/nodes/node1/states/provision", state("provide", ""))
		c.want(202, "", "PUT", base+"/nodes/node1/states/provision", state("deleted", ""))
		time.Sleep(61 * time.Second)
		c.want(404, "Allocation a could not be found.", "GET", base+"/allocations/a", "")
		c.want(200, `"provision_state":"cleaning"`, "GET", base+"/nodes/node1", "")
		time.Sleep(61 * time.Second)
		c.want(200, `"provision_state":"available"`, "GET", base+"/nodes/node1", "")
		c.want(204, "", "DELETE", base+"/allocations/b", "")
	})
}

func TestTwoSandboxesDoNotShareAFolder(t *testing.T) {
	state := t.TempDir()
	first, err := sandbox.Start(t.Context(), sandbox.Config{State: state})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sandbox.Start(t.Context(), sandbox.Config{State: state}); err == nil || !strings.Contains(err.Error(), "another sandbox") {
		t.Errorf("got %v", err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	second, err := sandbox.Start(t.Context(), sandbox.Config{State: state})
	if err != nil {
		t.Fatal(err)
	}
	second.Close()
	if _, err := sandbox.Start(t.Context(), sandbox.Config{}); err == nil {
		t.Error("a sandbox without a folder started")
	}
}

func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &sandbox.Faults{}
		c := start(t, sandbox.Config{Faults: f, BuildTime: time.Minute})
		c.login()
		f.Fail("DELETE /servers/*", 409, "busy", 1)
		f.Stuck("stuck", 1)
		f.Boot("bad*", 500, "smoke", 1)
		stuck, bad := c.make("stuck", ""), c.make("bad-1", "")
		time.Sleep(time.Hour)
		c.login()
		c.want(200, `"status":"BUILD"`, "GET", "/compute/v2.1/servers/"+stuck, "")
		c.want(200, `"message":"smoke"`, "GET", "/compute/v2.1/servers/"+bad, "")
		c.want(409, "busy", "DELETE", "/compute/v2.1/servers/"+bad, "")
		c.want(204, "", "DELETE", "/compute/v2.1/servers/"+bad, "")
	})
}
