package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dlx.dev/dlx/backends/sandbox"
)

// A study whose cells are in three places: two regions of one Keystone, and another cloud. In one of them
// servers are on a network of the run's own, at floating IPs.
const regionsStudy = `package regions

import "dlx.dev/dlx"

study: dlx.#Study & {
	name: "regions"
	axes: {n: [1, 2], orchestration: ["one", "two", "other"]}
	workload: dlx.#Command & {
		program: ["sh", "-c", "until test -e '\(_work)/go'; do sleep 0.1; done; echo rate {n}"]
		patterns: throughput: "^rate (?P<v>[0-9]+)$"
	}
	metrics: throughput: dlx.#Throughput
}
_work: string @tag(work)
`

const regionsTestbed = `package testbeds

import "dlx.dev/dlx"

_server: {flavor: "sandbox.small", image: "sandbox", user: "sandbox"}
testbed: dlx.#Testbed & {
	name: "regions"
	clouds: {
		one: {backend: "openstack", cloud: "both"}
		two: {backend: "openstack", cloud: "both", region: "two", runNetwork: {cidr: "10.250.0.0/24", external: "public"}}
		other: {backend: "openstack", cloud: "other"}
	}
	orchestrations: {
		one: {cloud: "one", machine: _server & {sshPort: %d}}
		two: {cloud: "two", machine: _server & {sshPort: %d, floatingPool: "public"}}
		other: {cloud: "other", machine: _server & {sshPort: %d}}
	}
}
`

func TestAStudyInTwoRegionsAndAnotherCloud(t *testing.T) {
	work := t.TempDir()
	start := func(name string, c sandbox.Config) *sandbox.Server {
		c.State, c.BuildTime = filepath.Join(work, name), 20*time.Millisecond
		s, err := sandbox.Start(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.End(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
		return s
	}
	one := start("one", sandbox.Config{})
	two := start("two", sandbox.Config{Region: "two", Keystone: one})
	other := start("other", sandbox.Config{})
	yaml := func(s *sandbox.Server, name string) string {
		_, clouds, _ := strings.Cut(string(s.CloudsYAML()), "clouds:\n")
		return strings.Replace(clouds, "  "+sandbox.Cloud+":\n", "  "+name+":\n", 1)
	}
	config, testbed := filepath.Join(work, "clouds.yaml"), filepath.Join(work, "lab.cue")
	for name, text := range map[string]string{
		config: "clouds:\n" + yaml(one, "both") + yaml(other, "other"), testbed: fmt.Sprintf(regionsTestbed, one.Port(), two.Port(), other.Port()),
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	study := writeStudy(t, regionsStudy)
	command := func(args ...string) *exec.Cmd {
		cmd := dlx(t, work, args...)
		cmd.Env = append(os.Environ(), "OS_CLIENT_CONFIG_FILE="+config, "OS_CLOUD=")
		return cmd
	}
	// left is what dlx gc finds in each place by the tags alone.
	left := func() string {
		out, err := command("gc", "--testbed", testbed, "--dry-run", "--output", "json").Output()
		if err != nil {
			t.Errorf("gc: %v", err)
		}
		return string(out)
	}
	if out, err := command("plan", study, "--testbed", testbed, "--check", "-t", "work="+work).CombinedOutput(); err != nil {
		t.Fatalf("plan: %v\n%s", err, out)
	}
	args := []string{"run", study, "--testbed", testbed, "--progress", "plain", "--dir", "run", "-t", "work=" + work}

	// A run that dies with machines in all three places is found in each, and released.
	killed := command(args...)
	killAfter(t, killed, 6) // each fleet is asked for, and is there
	found := left()
	for _, want := range []string{`"cloud":"one"`, `"cloud":"two"`, `"cloud":"other"`, `"kind":"floatingip"`, `"kind":"network"`, `"kind":"router"`} {
		if !strings.Contains(strings.ReplaceAll(found, `": "`, `":"`), want) {
			t.Errorf("a killed run left no %s: %s", want, found)
		}
	}
	if out, err := command("gc", "run").CombinedOutput(); err != nil {
		t.Errorf("gc: %v\n%s", err, out)
	}
	if found := left(); strings.Contains(found, `"kind"`) {
		t.Errorf("left after dlx gc: %s", found)
	}

	if err := os.WriteFile(filepath.Join(work, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := command(args...).CombinedOutput(); err != nil || !strings.Contains(string(out), "6 trials: 6 done") {
		t.Fatalf("run: %v\n%s", err, out)
	}
	observedOnce(t, filepath.Join(work, "run", "journal.jsonl"), 6)
	if found := left(); strings.Contains(found, `"kind"`) {
		t.Errorf("left after the run: %s", found)
	}
}
