package main

import (
	"archive/zip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/backendtest"
)

// A real cloud with machines that can be logged into is named by the variables that package backendtest
// describes. testdata/lab/openstack makes one.

const guestStudy = `package guests

import "dlx.dev/dlx"

study: dlx.#Study & {
	name: "guests"
	axes: {model: ["inceptionv3", "resnet50", "alexnet"], mode: ["single", "distributed"], orchestration: ["vm"]}
	workload: dlx.#CNNBench & {
		flags: {batch_size: 2, num_batches: 60, num_warmup_batches: 1, display_every: 10}
		bind: model: "model"
		per: mode: {
			single: flags: variable_update: "parameter_server"
			distributed: {
				flags: variable_update: "distributed_replicated"
				roles: {ps: on: "worker", worker: count: 2}
			}
		}
		hosts: "any"
	}
	metrics: {throughput: dlx.#Throughput, elapsed: dlx.#Elapsed}
	figures: f: {metric: "throughput", rows: "model", columns: "mode"}
}
`

// TestAStudyOnGuests runs a study on virtual machines of a real cloud: alone, and on two that find each
// other. Every number comes from inside of them, and the workbook says what they are.
func TestAStudyOnGuests(t *testing.T) {
	testbed := cloudTestbed(t, "guest", 3)
	dir := filepath.Join(t.TempDir(), "run")
	if keep := os.Getenv("DLX_TEST_KEEP"); keep != "" {
		dir = keep // to look at afterwards
	}
	cmd := exec.CommandContext(t.Context(), staticDlx(t), "run", writeStudy(t, guestStudy), "--testbed", testbed, "--progress", "plain", "--dir", dir)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "6 trials: 6 done") {
		t.Fatalf("%v\n%s", err, out)
	}
	hosts := probedGuests(t, filepath.Join(dir, "logs"))
	observedOnce(t, filepath.Join(dir, "journal.jsonl"), 6)
	book := unzipped(t, filepath.Join(dir, "results", "guests.xlsx"))
	for _, word := range append(hosts, "probe.virtualisation", "probe.hostname") {
		if !strings.Contains(book, word) {
			t.Errorf("the workbook does not say %q", word)
		}
	}
}

// cloudWorlds are the worlds of the conformance suite that have the machines which DLX_TEST_OPENSTACK names.
var cloudWorlds = map[string]string{"machine": "openstack/cloud", "guest": "openstack/guests", "metal": "openstack/ironic"}

// cloudTestbed writes a testbed of the cloud's machines of a kind, of which so many may be in use, all by the
// orchestration "vm".
func cloudTestbed(t *testing.T, kind string, capacity int) string {
	t.Helper()
	testbed := filepath.Join(t.TempDir(), "lab.cue")
	bed := fmt.Sprintf(`package lab

import "dlx.dev/dlx"

testbed: dlx.#Testbed & {
	name: "lab"
	clouds: lab: {backend: "openstack", cloud: %q}
	orchestrations: vm: {cloud: "lab", machine: %s, uses: machines: 1}
	capacity: machines: %d
}
`, os.Getenv("OS_CLOUD"), cloudSetting(t, kind, kind), capacity)
	if err := os.WriteFile(testbed, []byte(bed), 0o600); err != nil {
		t.Fatal(err)
	}
	return testbed
}

// cloudSetting gives what DLX_TEST_OPENSTACK says of a cloud that has machines of a kind.
func cloudSetting(t *testing.T, kind, setting string) string {
	t.Helper()
	var cloud map[string]json.RawMessage
	if text := os.Getenv("DLX_TEST_OPENSTACK"); text != "" {
		if err := json.Unmarshal([]byte(text), &cloud); err != nil {
			t.Fatal(err)
		}
	}
	if cloud[kind] == nil || cloud[setting] == nil || os.Getenv("OS_CLOUD") == "" {
		backendtest.Skip(t, cloudWorlds[kind], fmt.Sprintf("DLX_TEST_OPENSTACK names no %q or %q, or OS_CLOUD no cloud: see testdata/lab/openstack/README.md", kind, setting))
	}
	return string(cloud[setting])
}

// probedGuests demands that each process ran in a virtual machine that dlx made, and gives their host names.
func probedGuests(t *testing.T, logs string) []string {
	t.Helper()
	var hosts []string
	probes := 0
	err := filepath.WalkDir(logs, func(path string, _ os.DirEntry, err error) error {
		if err != nil || filepath.Base(path) != backends.Probe {
			return err
		}
		probes++
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		said, err := backends.ParseProbe(f)
		if said["virtualisation"] != "qemu" && said["virtualisation"] != "kvm" {
			t.Errorf("%s: not in a virtual machine: %v", path, said)
		}
		if h := said["hostname"]; !strings.HasPrefix(h, "dlx-") {
			t.Errorf("%s: on %q", path, h)
		} else if !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
		return err
	})
	if err != nil || probes != 3*1+3*3 { // a distributed trial has two workers and a parameter server
		t.Errorf("%d processes left a probe, %v", probes, err)
	}
	return hosts
}

// unzipped gives all text of a workbook.
func unzipped(t *testing.T, path string) string {
	t.Helper()
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var out strings.Builder
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(&out, r)
		_ = r.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

const killStudyOnCloud = `package tiny

import "dlx.dev/dlx"

study: dlx.#Study & {
	name: "tiny"
	axes: {n: [1, 2, 3], orchestration: ["vm"]}
	repeats: 2
	workload: dlx.#Command & {
		program: ["sh", "-c", "sleep 1; echo rate {n}"]
		patterns: throughput: "^rate (?P<v>[0-9]+)$"
		roles: worker: count: 2
	}
	metrics: throughput: dlx.#Throughput
}
`

// TestARunSurvivesKillsOnACloud kills dlx at random moments of runs on a cloud, see [survivesKills].
func TestARunSurvivesKillsOnACloud(t *testing.T) {
	for kind, seconds := range map[string]int{"machine": 25, "guest": 60, "metal": 30} {
		t.Run(kind, func(t *testing.T) {
			testbed := cloudTestbed(t, kind, 2)
			survivesKills(t, killing{
				bin: staticDlx(t), args: []string{"run", writeStudy(t, killStudyOnCloud), "--testbed", testbed, "--progress", "plain"},
				trials: 6, seconds: seconds, objects: func() []string { return cloudObjects(t) },
			})
		})
	}
}

// cloudObjects lists what dlx could leave on a cloud.
func cloudObjects(t *testing.T) []string {
	t.Helper()
	login, project, endpoint := loginToCloud(t, os.Getenv("OS_CLOUD"))
	var out []string
	for _, service := range []struct {
		of    func(*gophercloud.ProviderClient, gophercloud.EndpointOpts) (*gophercloud.ServiceClient, error)
		lists []string
	}{
		{openstack.NewComputeV2, []string{"servers", "os-keypairs", "os-server-groups"}},
		{openstack.NewNetworkV2, []string{"networks", "subnets", "ports", "routers", "floatingips", "security-groups"}},
		{openstack.NewBareMetalV1, []string{"allocations"}},
		{openstack.NewContainerInfraV1, []string{"clusters"}},
	} {
		client, err := service.of(login, endpoint)
		if missing := (*gophercloud.ErrEndpointNotFound)(nil); errors.As(err, &missing) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if client.Type == "baremetal" {
			client.Microversion = "1.56" // the first that lists allocations of a project is 1.52
		}
		for _, path := range service.lists {
			url := client.ServiceURL(path)
			if client.Type == "network" {
				url += "?project_id=" + project // who owns a network sees the ports on it, whose ever they are
			}
			var body map[string]json.RawMessage
			if _, err := client.Get(t.Context(), url, &body, nil); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			out = append(out, listed(t, path, body)...)
		}
	}
	slices.Sort(out)
	return out
}

// loginToCloud logs into a cloud of clouds.yaml, and tells the project.
func loginToCloud(t *testing.T, name string) (_ *gophercloud.ProviderClient, project string, _ gophercloud.EndpointOpts) {
	t.Helper()
	auth, endpoint, _, err := clouds.Parse(clouds.WithCloudName(name))
	if err != nil {
		t.Fatal(err)
	}
	login, err := openstack.AuthenticatedClient(t.Context(), auth)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(login.HTTPClient.CloseIdleConnections)
	p, err := login.GetAuthResult().(tokens.CreateResult).ExtractProject()
	if err != nil {
		t.Fatal(err)
	}
	return login, p.ID, endpoint
}

// listed gives the items of a list, whatever it is called.
func listed(t *testing.T, path string, body map[string]json.RawMessage) []string {
	t.Helper()
	var out []string
	for key, value := range body {
		var items []map[string]any
		if strings.HasSuffix(key, "_links") || json.Unmarshal(value, &items) != nil {
			continue
		}
		for _, i := range items {
			if inner, ok := i["keypair"].(map[string]any); ok {
				i = inner
			}
			out = append(out, fmt.Sprintf("%s %v %v%v", path, i["name"], i["id"], i["uuid"]))
		}
	}
	return out
}
