package sandbox

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// The microversions of Nova 26 (Zed), the release whose texts the sandbox answers with.
const novaMin, novaMax = 1, 93

// nova serves everything of Nova but keypairs.
func (s *Server) nova() {
	version := map[string]any{"id": "v2.1", "status": "CURRENT", "version": fmt.Sprintf("2.%d", novaMax), "min_version": fmt.Sprintf("2.%d", novaMin),
		"links": []any{map[string]any{"rel": "self", "href": s.base + "/compute/v2.1/"}}}
	s.root("/compute/v2.1", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]any{"version": version})
	})
	s.compute("GET /flavors", s.listFlavors)
	s.compute("GET /flavors/detail", s.listFlavors)
	s.compute("GET /flavors/{id}/os-extra_specs", s.showSpecs)
	s.compute("GET /flavors/{id}", s.showFlavor)
	s.compute("GET /limits", s.showLimits)
	zones := func(w http.ResponseWriter, _ *http.Request, _ int) {
		zone := map[string]any{"zoneName": Zone, "zoneState": map[string]any{"available": true}, "hosts": nil}
		reply(w, http.StatusOK, map[string]any{"availabilityZoneInfo": []any{zone}})
	}
	s.compute("GET /os-availability-zone", zones)
	s.compute("GET /os-availability-zone/detail", zones)
	s.compute("GET /servers", s.listServers)
	s.compute("GET /servers/detail", s.listServers)
	s.compute("GET /servers/{id}", s.showServer)
	s.compute("GET /servers/{id}/tags", s.showTags)
	s.compute("POST /servers", s.createServer)
	s.compute("DELETE /servers/{id}", s.deleteServer)
	s.compute("POST /servers/{id}/action", s.act)
}

// compute routes a request of Nova, with token and microversion checked.
func (s *Server) compute(pattern string, h func(http.ResponseWriter, *http.Request, int)) {
	method, p, _ := strings.Cut(pattern, " ")
	s.mux.HandleFunc(method+" /compute/v2.1"+p, s.auth(func(w http.ResponseWriter, r *http.Request) {
		asked := r.Header.Get("X-OpenStack-Nova-API-Version")
		if v := r.Header.Get("OpenStack-API-Version"); strings.HasPrefix(v, "compute ") {
			asked = strings.TrimPrefix(v, "compute ")
		}
		minor := novaMin
		switch m := regexp.MustCompile(`^2\.(\d{1,3})$`).FindStringSubmatch(asked); {
		case asked == "latest":
			minor = novaMax
		case m != nil:
			minor, _ = strconv.Atoi(m[1])
		case asked != "":
			novaError(w, http.StatusBadRequest, fmt.Sprintf("API Version String %s is of invalid format. Must be of format MajorNum.MinorNum.", asked))
			return
		}
		if minor < novaMin || minor > novaMax {
			novaError(w, http.StatusNotAcceptable, fmt.Sprintf("Version %s is not supported by the API. Minimum is 2.%d and maximum is 2.%d.", asked, novaMin, novaMax))
			return
		}
		w.Header().Set("OpenStack-API-Version", fmt.Sprintf("compute 2.%d", minor))
		w.Header().Set("X-OpenStack-Nova-API-Version", fmt.Sprintf("2.%d", minor))
		w.Header().Set("x-openstack-request-id", "req-"+randomID())
		h(w, r, minor)
	}))
}

// novaError answers as Nova does: the kind of fault depends on the code.
func novaError(w http.ResponseWriter, code int, message string) {
	kind := map[int]string{400: "badRequest", 401: "unauthorized", 403: "forbidden", 404: "itemNotFound", 405: "badMethod",
		409: "conflictingRequest", 413: "overLimit", 429: "overLimit", 501: "notImplemented", 503: "serviceUnavailable"}[code]
	if kind == "" {
		kind = "computeFault"
	}
	reply(w, code, map[string]any{kind: map[string]any{"code": code, "message": message}})
}

func flavorBy(id string) *Flavor {
	for i := range flavors {
		if flavors[i].ID == id {
			return &flavors[i]
		}
	}
	return nil
}

func (f *Flavor) json() map[string]any {
	return map[string]any{"id": f.ID, "name": f.Name, "vcpus": f.VCPUs, "ram": f.RAM, "disk": f.Disk, "swap": "", "rxtx_factor": 1.0,
		"OS-FLV-EXT-DATA:ephemeral": 0, "OS-FLV-DISABLED:disabled": false, "os-flavor-access:is_public": true}
}

func (s *Server) listFlavors(w http.ResponseWriter, _ *http.Request, _ int) {
	list := []any{}
	for i := range flavors {
		list = append(list, flavors[i].json())
	}
	reply(w, http.StatusOK, map[string]any{"flavors": list})
}

func (s *Server) showFlavor(w http.ResponseWriter, r *http.Request, _ int) {
	f := flavorBy(r.PathValue("id"))
	if f == nil {
		novaError(w, http.StatusNotFound, "Flavor "+r.PathValue("id")+" could not be found.")
		return
	}
	reply(w, http.StatusOK, map[string]any{"flavor": f.json()})
}

// showSpecs shows the extra specs of a flavor: a node of Ironic as a whole, or the GPUs of a host.
func (s *Server) showSpecs(w http.ResponseWriter, r *http.Request, _ int) {
	f := flavorBy(r.PathValue("id"))
	if f == nil {
		novaError(w, http.StatusNotFound, "Flavor "+r.PathValue("id")+" could not be found.")
		return
	}
	specs := map[string]string{}
	switch {
	case f.ID == metalID:
		specs = map[string]string{"resources:CUSTOM_BAREMETAL": "1", "resources:VCPU": "0", "resources:MEMORY_MB": "0", "resources:DISK_GB": "0"}
	case s.cfg.Kube.GPUs > 0:
		specs["resources:VGPU"] = strconv.Itoa(s.cfg.Kube.GPUs)
	}
	reply(w, http.StatusOK, map[string]any{"extra_specs": specs})
}

// used counts what the servers take from the quota, those in ERROR included. The caller holds s.mu.
func (s *Server) used() Quota {
	var q Quota
	for _, v := range s.st.Servers {
		if v.Apart {
			continue
		}
		f := flavorBy(v.Flavor)
		q.Instances++
		q.Cores += f.VCPUs
		q.RAM += f.RAM
	}
	return q
}

func (s *Server) showLimits(w http.ResponseWriter, _ *http.Request, _ int) {
	s.mu.Lock()
	u, q, groups := s.used(), s.cfg.Quota, len(s.st.ServerGroups)
	s.mu.Unlock()
	reply(w, http.StatusOK, map[string]any{"limits": map[string]any{"rate": []any{}, "absolute": map[string]any{
		"maxTotalInstances": q.Instances, "totalInstancesUsed": u.Instances, "maxTotalCores": q.Cores, "totalCoresUsed": u.Cores,
		"maxTotalRAMSize": q.RAM, "totalRAMUsed": u.RAM, "maxTotalKeypairs": cmp.Or(q.KeyPairs, maxKeyPairs), "maxServerMeta": maxMetadata,
		"maxServerGroups": cmp.Or(q.ServerGroups, maxServerGroups), "totalServerGroupsUsed": groups, "maxServerGroupMembers": cmp.Or(q.GroupMembers, maxGroupMembers)}}})
}

// SetQuota changes what the project may have.
func (s *Server) SetQuota(q Quota) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cfg.Quota = q
}

// overQuota says what one more server of a flavor would exceed. The caller holds s.mu.
func (s *Server) overQuota(f *Flavor) string {
	u, q := s.used(), s.cfg.Quota
	for _, c := range []struct {
		name            string
		want, used, max int
	}{{"instances", 1, u.Instances, q.Instances}, {"cores", f.VCPUs, u.Cores, q.Cores}, {"ram", f.RAM, u.RAM, q.RAM}} {
		if c.used+c.want > c.max {
			return fmt.Sprintf("Quota exceeded for %s: Requested %d, but already used %d of %d %s", c.name, c.want, c.used, c.max, c.name)
		}
	}
	return ""
}

// act is POST /servers/{id}/action, of which the console log alone is served.
func (s *Server) act(w http.ResponseWriter, r *http.Request, _ int) {
	var in map[string]json.RawMessage
	if err := read(r, &in); err != nil {
		novaError(w, http.StatusBadRequest, err.Error())
		return
	}
	s.mu.Lock()
	v := s.st.Servers[r.PathValue("id")]
	var log string
	if v != nil {
		log = s.console(v)
	}
	s.mu.Unlock()
	if v == nil {
		novaError(w, http.StatusNotFound, "Instance "+r.PathValue("id")+" could not be found.")
		return
	}
	body, ok := in["os-getConsoleOutput"]
	if !ok {
		novaError(w, http.StatusNotImplemented, "the sandbox serves no server action but os-getConsoleOutput")
		return
	}
	var want struct {
		Length json.Number `json:"length"`
	}
	_ = json.Unmarshal(body, &want)
	if n, err := want.Length.Int64(); err == nil && n >= 0 {
		lines := strings.SplitAfter(log, "\n")
		log = strings.Join(lines[max(0, len(lines)-1-int(n)):], "")
	}
	reply(w, http.StatusOK, map[string]any{"output": log})
}
