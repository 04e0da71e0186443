package main

import (
	"archive/zip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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
		flags: {batch_size: 2, num_batches: 2, num_warmup_batches: 1, display_every: 1}
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
	testbed := guestTestbed(t)
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

// guestTestbed writes a testbed of the cloud's guests.
func guestTestbed(t *testing.T) string {
	t.Helper()
	var cloud struct {
		Guest json.RawMessage `json:"guest"`
	}
	text := os.Getenv("DLX_TEST_OPENSTACK")
	if text != "" {
		if err := json.Unmarshal([]byte(text), &cloud); err != nil {
			t.Fatal(err)
		}
	}
	if cloud.Guest == nil || os.Getenv("OS_CLOUD") == "" {
		backendtest.Skip(t, "openstack/guests", `DLX_TEST_OPENSTACK names no "guest", or OS_CLOUD no cloud: see testdata/lab/openstack/README.md`)
	}
	testbed := filepath.Join(t.TempDir(), "lab.cue")
	bed := fmt.Sprintf(`package lab

import "dlx.dev/dlx"

testbed: dlx.#Testbed & {
	name: "lab"
	clouds: lab: {backend: "openstack", cloud: %q}
	orchestrations: vm: {cloud: "lab", machine: %s, uses: guests: 1}
	capacity: guests: 3
}
`, os.Getenv("OS_CLOUD"), cloud.Guest)
	if err := os.WriteFile(testbed, []byte(bed), 0o600); err != nil {
		t.Fatal(err)
	}
	return testbed
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
