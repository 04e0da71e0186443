package sandbox_test

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dlx.dev/dlx/backends/sandbox"
)

// Servers of a group stand on hosts as its policy says; one too many has no valid host.
func TestServerGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, sandbox.Config{Hosts: 2})
		c.login()
		group := func(policy string) string {
			var out struct {
				Group struct {
					ID string `json:"id"`
				} `json:"server_group"`
			}
			body := c.want(200, `"policies"`, "POST", "/compute/v2.1/os-server-groups", `{"server_group": {"name": "g", "policies": ["`+policy+`"]}}`)
			if err := json.Unmarshal([]byte(body), &out); err != nil {
				t.Fatal(err)
			}
			return out.Group.ID
		}
		make := func(name, group string) (host, status string) {
			body := strings.TrimSuffix(server(name, ""), "}") + `, "os:scheduler_hints": {"group": "` + group + `"}}`
			var out struct {
				Server struct {
					ID     string `json:"id"`
					HostID string `json:"hostId"`
					Status string `json:"status"`
				} `json:"server"`
			}
			for _, b := range []string{c.want(202, "", "POST", "/compute/v2.1/servers", body), ""} {
				if b == "" {
					time.Sleep(time.Second)
					_, b = c.do("GET", "/compute/v2.1/servers/"+out.Server.ID, "")
				}
				if err := json.Unmarshal([]byte(b), &out); err != nil {
					t.Fatal(err)
				}
			}
			return out.Server.HostID, out.Server.Status
		}
		apart, together := group("anti-affinity"), group("affinity")
		a, _ := make("a", apart)
		b, _ := make("b", apart)
		if a == "" || a == b {
			t.Errorf("anti-affinity: hosts %q and %q", a, b)
		}
		if _, status := make("c", apart); status != "ERROR" {
			t.Errorf("a third server on two hosts is %s", status)
		}
		d, _ := make("d", together)
		e, _ := make("e", together)
		if d == "" || d != e {
			t.Errorf("affinity: hosts %q and %q", d, e)
		}
		c.want(200, `"members":["`, "GET", "/compute/v2.1/os-server-groups/"+apart, "")
		c.want(400, "Instance group x could not be found.", "POST", "/compute/v2.1/servers", strings.TrimSuffix(server("f", ""), "}")+`, "os:scheduler_hints": {"group": "x"}}`)
		c.want(400, "Invalid input", "POST", "/compute/v2.1/os-server-groups", `{"server_group": {"name": "g", "policies": ["soft"]}}`)
		c.want(204, "", "DELETE", "/compute/v2.1/os-server-groups/"+apart, "")
		c.want(404, "could not be found", "DELETE", "/compute/v2.1/os-server-groups/"+apart, "")
	})
}
