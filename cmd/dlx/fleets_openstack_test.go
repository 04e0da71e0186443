package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
)

// TestManyFleetsUnderAQuotaOnACloud runs plans of 20 and of 60 fleets of one server each where the project
// may have 20 servers. The quota is never hit, and requests grow with servers: what waits asks for all of them at
// once, so that polling costs what the time does, however many there are. No secret is written anywhere.
func TestManyFleetsUnderAQuotaOnACloud(t *testing.T) {
	const quota = 20
	machine := cloudSetting(t, "machine", "machine")
	limitServers(t, quota)
	bin := staticDlx(t)
	perServer := map[int]float64{}
	for _, fleets := range []int{quota, 3 * quota} {
		c := newCountingCloud(t)
		var orchestrations, names strings.Builder
		for i := range fleets {
			fmt.Fprintf(&orchestrations, "\t\t\"vm-%d\": {cloud: \"lab\", machine: %s, uses: servers: 1}\n", i, machine)
			fmt.Fprintf(&names, "\"vm-%d\", ", i)
		}
		testbed, dir := filepath.Join(t.TempDir(), "lab.cue"), filepath.Join(t.TempDir(), "run")
		text := fmt.Sprintf("package lab\n\nimport \"dlx.dev/dlx\"\n\ntestbed: dlx.#Testbed & {\n\tname: \"lab\"\n"+
			"\tclouds: lab: {backend: \"openstack\", cloud: \"counted\"}\n\torchestrations: {\n%s\t}\n\tcapacity: servers: %d\n}\n", orchestrations.String(), quota)
		if err := os.WriteFile(testbed, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		study := writeStudy(t, strings.NewReplacer(`n: [1, 2, 3]`, `n: [1]`, `["vm"]`, "["+names.String()+"]", "repeats: 2", "repeats: 1",
			"roles: worker: count: 2", "").Replace(killStudyOnCloud))
		cmd := exec.CommandContext(t.Context(), bin, "run", study, "--testbed", testbed, "--progress", "plain", "--dir", dir)
		cmd.Env = append(os.Environ(), "OS_CLIENT_CONFIG_FILE="+c.config, "OS_CLOUD=")
		began := time.Now()
		listed := c.watchProcesses()
		out, err := cmd.CombinedOutput()
		took := time.Since(began)
		if looks := listed(); looks < 10 {
			t.Errorf("the list of processes was read %d times", looks)
		}
		if err != nil || !strings.Contains(string(out), fmt.Sprintf("%d trials: %[1]d done", fleets)) {
			t.Fatalf("%v\n%s", err, out)
		}
		observedOnce(t, filepath.Join(dir, "journal.jsonl"), fleets)
		polls, others, refused := c.counts(t)
		t.Logf("%d fleets: %v, %d list requests, %d others: %.1f a server", fleets, took.Round(time.Second), polls, others, float64(others)/float64(fleets))
		if len(refused) > 0 {
			t.Errorf("%d fleets: the cloud refused %q", fleets, refused)
		}
		// Two lists whenever a fleet comes and goes, by tags and by names, and one every two seconds at most.
		if most := 8*fleets + int(took/(2*time.Second)) + 10; polls > most {
			t.Errorf("%d fleets: %d list requests in %v; want %d at most", fleets, polls, took, most)
		}
		perServer[fleets] = float64(others) / float64(fleets)
		c.noSecrets(t, dir, out)
	}
	if few, many := perServer[quota], perServer[3*quota]; many > 1.2*few {
		t.Errorf("%.1f requests a server with %d fleets, %.1f with %d", few, quota, many, 3*quota)
	}
}

// limitServers sets the quota of the project's servers until the test ends.
func limitServers(t *testing.T, n int) {
	t.Helper()
	var admin string
	if err := json.Unmarshal([]byte(cloudSetting(t, "machine", "admin")), &admin); err != nil {
		t.Fatal(err)
	}
	_, project, _ := loginToCloud(t, os.Getenv("OS_CLOUD"))
	login, _, endpoint := loginToCloud(t, admin)
	compute, err := openstack.NewComputeV2(login, endpoint)
	if err != nil {
		t.Fatal(err)
	}
	at := compute.ServiceURL("os-quota-sets", project)
	if _, err := compute.Put(t.Context(), at, map[string]any{"quota_set": map[string]any{"instances": n}}, nil, &gophercloud.RequestOpts{OkCodes: []int{http.StatusOK}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := compute.Delete(context.WithoutCancel(t.Context()), at, &gophercloud.RequestOpts{OkCodes: []int{http.StatusAccepted}}); err != nil {
			t.Error(err)
		}
	})
}

// countingCloud stands before all services of a cloud of one host, before each with a server of its own.
type countingCloud struct {
	t       *testing.T
	service *regexp.Regexp // matches where a service is
	config  string         // a clouds.yaml with the cloud "counted"

	mu      sync.Mutex
	servers map[string]string // by the address of the service
	seen    map[string]int    // requests, by method and path without IDs
	refused []string          // requests that were, and how
	secrets map[string]bool   // what may stand nowhere
}

// identifier matches the parts of paths that differ from object to object.
var identifier = regexp.MustCompile(`/(dlx-[^/]+|[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})`)

func newCountingCloud(t *testing.T) *countingCloud {
	t.Helper()
	auth, endpoint, _, err := clouds.Parse(clouds.WithCloudName(os.Getenv("OS_CLOUD")))
	if err != nil {
		t.Fatal(err)
	}
	keystone, err := url.Parse(auth.IdentityEndpoint)
	if err != nil {
		t.Fatal(err)
	}
	c := &countingCloud{t: t, servers: map[string]string{}, seen: map[string]int{}, secrets: map[string]bool{auth.Password: true}}
	c.service = regexp.MustCompile(regexp.QuoteMeta("http://"+keystone.Hostname()) + ":[0-9]+")
	c.config = filepath.Join(t.TempDir(), "clouds.yaml")
	text, err := json.Marshal(map[string]any{"clouds": map[string]any{"counted": map[string]any{"region_name": endpoint.Region, "auth": map[string]string{
		"auth_url": c.before("http://"+keystone.Host) + keystone.Path, "username": auth.Username, "password": auth.Password,
		"project_name": auth.TenantName, "user_domain_name": "Default", "project_domain_name": "Default",
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

// before gives the server before a service.
func (c *countingCloud) before(service string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.servers[service] == "" {
		at, err := url.Parse(service)
		if err != nil {
			c.t.Error(err)
			return service
		}
		server := httptest.NewServer(&httputil.ReverseProxy{ModifyResponse: c.count, Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(at)                        // the host as well: services say where they are by it
			r.Out.Header.Del("Accept-Encoding") // answers are rewritten
		}})
		c.t.Cleanup(server.Close)
		c.servers[service] = server.URL
	}
	return c.servers[service]
}

// count notes a request and lets its answer say that the services are here.
func (c *countingCloud) count(resp *http.Response) error {
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	body = c.service.ReplaceAllFunc(body, func(service []byte) []byte { return []byte(c.before(string(service))) })
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	resp.Header.Set("Content-Length", strconv.Itoa(len(body)))
	what := resp.Request.Method + " " + identifier.ReplaceAllString(resp.Request.URL.Path, "/ID")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[what]++
	if resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusConflict || resp.StatusCode >= http.StatusInternalServerError {
		c.refused = append(c.refused, fmt.Sprintf("%s: %s: %.200s", what, resp.Status, body))
	}
	for _, header := range []string{resp.Request.Header.Get("X-Auth-Token"), resp.Header.Get("X-Subject-Token")} {
		if header != "" {
			c.secrets[header] = true
		}
	}
	return nil
}

// counts gives the lists of servers, all other requests, and what was refused.
func (c *countingCloud) counts(t *testing.T) (lists, others int, refused []string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for what, n := range c.seen {
		t.Logf("%6d %s", n, what)
		if strings.HasSuffix(what, "GET /v2.1/servers/detail") {
			lists += n
		} else {
			others += n
		}
	}
	return lists, others, c.refused
}

// watchProcesses looks for secrets in the list of processes until it is told to stop, and tells how often it has.
func (c *countingCloud) watchProcesses() (stop func() int) {
	end, ended := make(chan struct{}), make(chan int)
	go func() {
		for looks := 0; ; looks++ {
			select {
			case <-end:
				ended <- looks
				return
			case <-time.After(time.Second): // what lives for less shows nothing to anybody
			}
			lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
			if err != nil {
				c.t.Error(err)
			}
			for _, path := range lines {
				if text, err := os.ReadFile(path); err == nil { // else it has ended
					c.look(path, text)
				}
			}
		}
	}()
	return func() int { close(end); return <-ended }
}

// look looks for secrets in a text.
func (c *countingCloud) look(where string, text []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.secrets {
		if bytes.Contains(text, []byte(s)) {
			c.t.Errorf("%s holds a password or a token", where)
		}
	}
}

// noSecrets looks for passwords and tokens in all that a run has written.
func (c *countingCloud) noSecrets(t *testing.T, dir string, out []byte) {
	t.Helper()
	c.look("the output", out)
	if err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		c.look(path, text)
		return err
	}); err != nil {
		t.Error(err)
	}
}
