package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/endpoints"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/regions"
)

// TestAStudyInTwoRegionsOfACloud runs a study with fleets in two regions of a real Keystone, in one of them on a
// network of the run's own. Behind both regions are the same servers, as where a user names one cloud twice.
func TestAStudyInTwoRegionsOfACloud(t *testing.T) {
	machine := cloudSetting(t, "machine", "machine")
	var spec map[string]any
	if err := json.Unmarshal([]byte(machine), &spec); err != nil {
		t.Fatal(err)
	}
	delete(spec, "network")
	own, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	const second = "dlx-test-two"
	addRegion(t, second)
	before := cloudObjects(t)
	work := t.TempDir()
	testbed, cloud := filepath.Join(work, "lab.cue"), os.Getenv("OS_CLOUD")
	text := fmt.Sprintf(`package lab

import "dlx.dev/dlx"

testbed: dlx.#Testbed & {
	name: "lab"
	clouds: {
		one: {backend: "openstack", cloud: %q}
		two: {backend: "openstack", cloud: %q, region: %q, runNetwork: cidr: "10.251.0.0/24"}
	}
	orchestrations: {
		one: {cloud: "one", machine: %s}
		two: {cloud: "two", machine: %s}
	}
}
`, cloud, cloud, second, machine, own)
	if err := os.WriteFile(testbed, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	study := writeStudy(t, strings.NewReplacer(`["one", "two", "other"]`, `["one", "two"]`, `until test -e '\(_work)/go'; do sleep 0.1; done`, "sleep 1", "_work: string @tag(work)", "").Replace(regionsStudy))
	cmd := exec.CommandContext(t.Context(), staticDlx(t), "run", study, "--testbed", testbed, "--progress", "plain", "--dir", filepath.Join(work, "run"))
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "4 trials: 4 done") {
		t.Fatalf("%v\n%s", err, out)
	}
	observedOnce(t, filepath.Join(work, "run", "journal.jsonl"), 4)
	if after := cloudObjects(t); strings.Join(before, "\n") != strings.Join(after, "\n") {
		t.Errorf("before: %q\nafter: %q", before, after)
	}
}

// addRegion gives the Keystone a region until the test ends, whose endpoints are those of the one in use.
func addRegion(t *testing.T, name string) {
	t.Helper()
	var admin string
	if err := json.Unmarshal([]byte(cloudSetting(t, "machine", "admin")), &admin); err != nil {
		t.Fatal(err)
	}
	login, _, endpoint := loginToCloud(t, admin)
	c, err := openstack.NewIdentityV3(login, endpoint)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.WithoutCancel(t.Context())
	if _, err := regions.Create(ctx, c, regions.CreateOpts{ID: name}).Extract(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := regions.Delete(ctx, c, name).ExtractErr(); err != nil {
			t.Error(err)
		}
	})
	pages, err := endpoints.List(c, endpoints.ListOpts{Availability: gophercloud.AvailabilityPublic, RegionID: endpoint.Region}).AllPages(ctx)
	if err != nil {
		t.Fatal(err)
	}
	all, err := endpoints.ExtractEndpoints(pages)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		var made struct {
			Endpoint struct {
				ID string `json:"id"`
			} `json:"endpoint"`
		}
		body := map[string]any{"endpoint": map[string]any{"service_id": e.ServiceID, "interface": "public", "region_id": name, "url": e.URL}}
		if _, err := c.Post(ctx, c.ServiceURL("endpoints"), body, &made, &gophercloud.RequestOpts{OkCodes: []int{http.StatusCreated}}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := endpoints.Delete(ctx, c, made.Endpoint.ID).ExtractErr(); err != nil {
				t.Error(err)
			}
		})
	}
}
