package sandbox

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"dlx.dev/dlx/backends"
)

func (s *Server) showServer(w http.ResponseWriter, r *http.Request, minor int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.st.Servers[r.PathValue("id")]
	if v == nil {
		novaError(w, http.StatusNotFound, "Instance "+r.PathValue("id")+" could not be found.")
		return
	}
	reply(w, http.StatusOK, map[string]any{"server": s.serverJSON(v, minor)})
}

func (s *Server) showTags(w http.ResponseWriter, r *http.Request, _ int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.st.Servers[r.PathValue("id")]
	if v == nil {
		novaError(w, http.StatusNotFound, "Instance "+r.PathValue("id")+" could not be found.")
		return
	}
	reply(w, http.StatusOK, map[string]any{"tags": append([]string{}, v.Tags...)})
}

// pageLimit is Nova's max_limit: no list is longer, whatever was asked for.
const pageLimit = 1000

// listServers is GET /servers and /servers/detail: newest first, with Nova's filters.
func (s *Server) listServers(w http.ResponseWriter, r *http.Request, minor int) {
	q := r.URL.Query()
	fits, refused := serverFilter(q, minor)
	limit := pageLimit
	if l := q.Get("limit"); l != "" {
		var err error
		if limit, err = strconv.Atoi(l); err != nil {
			refused = "Invalid input for query parameters limit. Value: " + l + ". Not an integer"
		}
	}
	if refused != "" {
		novaError(w, http.StatusBadRequest, refused)
		return
	}
	limit = min(max(limit, 0), pageLimit)
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.SortedFunc(maps.Values(s.st.Servers), func(a, b *server) int {
		if c := b.Created.Compare(a.Created); c != 0 {
			return c
		}
		return strings.Compare(b.ID, a.ID)
	})
	if m := q.Get("marker"); m != "" {
		i := slices.IndexFunc(all, func(v *server) bool { return v.ID == m })
		if i < 0 {
			novaError(w, http.StatusBadRequest, "marker ["+m+"] not found")
			return
		}
		all = all[i+1:]
	}
	list, more := []any{}, false
	last := ""
	for _, v := range all {
		if v.Apart || !fits(v) {
			continue
		}
		if len(list) == limit {
			more = true
			break
		}
		last = v.ID
		if strings.HasSuffix(r.URL.Path, "/detail") {
			list = append(list, s.serverJSON(v, minor))
		} else {
			list = append(list, map[string]any{"id": v.ID, "name": v.Name})
		}
	}
	body := map[string]any{"servers": list}
	if more {
		q.Set("marker", last)
		body["servers_links"] = []any{map[string]any{"rel": "next", "href": s.base + r.URL.Path + "?" + q.Encode()}}
	}
	reply(w, http.StatusOK, body)
}

// serverFilter makes a function out of the filters of a query.
func serverFilter(q url.Values, minor int) (fits func(*server) bool, refused string) {
	name, err := regexp.Compile(q.Get("name"))
	if err != nil {
		return nil, "Invalid filter field: name."
	}
	var since time.Time
	if c := q.Get("changes-since"); c != "" {
		if since, err = time.Parse(time.RFC3339, c); err != nil {
			return nil, "Invalid filter field: changes-since."
		}
	}
	split := func(key string) []string {
		if q.Get(key) == "" || minor < 26 { // 2.26: tags
			return nil
		}
		return strings.Split(q.Get(key), ",")
	}
	all, some, notAll, notAny := split("tags"), split("tags-any"), split("not-tags"), split("not-tags-any")
	return func(v *server) bool {
		has := func(t string) bool { return slices.Contains(v.Tags, t) }
		hasNot := func(t string) bool { return !has(t) }
		return name.MatchString(v.Name) &&
			(q.Get("status") == "" || strings.EqualFold(q.Get("status"), v.Status)) &&
			!v.Updated.Before(since) &&
			!slices.ContainsFunc(all, hasNot) &&
			(some == nil || slices.ContainsFunc(some, has)) &&
			(notAll == nil || slices.ContainsFunc(notAll, hasNot)) &&
			!slices.ContainsFunc(notAny, has)
	}, ""
}

// limitFact says, in a server's metadata and a node's properties, what holds it to its cores:
// "affinity", or the control files of its group with their values.
const limitFact = "cpu.limit"

// processOf is what machines say that they are, under backends.SandboxFact.
const processOf = "processes of one computer"

// faultLag is how much later than the state ERROR its reason is there, as in Nova, whose conductor
// writes the one after the other.
const faultLag = 100 * time.Millisecond

// serverJSON is a server as Nova shows it. The caller holds s.mu.
func (s *Server) serverJSON(v *server, minor int) map[string]any {
	const layout = "2006-01-02T15:04:05Z"
	hostID := ""
	if v.Placed {
		hostID = fmt.Sprintf("%x", sha256.Sum224([]byte(projectID+hostName(v.Host))))
	}
	meta := map[string]string{"sandbox_pinned_by": pinnedBy, "sandbox_cpus": joinInts(v.CPUs)}
	if l := s.limit(v.ID); l != "" {
		meta[limitFact] = l
	}
	maps.Copy(meta, v.Metadata)
	meta[backends.SandboxFact] = processOf
	addresses := map[string]any{}
	if n := s.find("networks", v.network()); v.Address != "" && n != nil {
		at := func(addr, kind string) any {
			return map[string]any{"addr": addr, "version": 4, "OS-EXT-IPS:type": kind, "OS-EXT-IPS-MAC:mac_addr": macOf(v.ID)}
		}
		list := []any{at(v.Address, "fixed")}
		for _, f := range s.netObjects("floatingips") {
			if f.Port == portOf(v.ID) {
				list = append(list, at(f.Address, "floating"))
			}
		}
		addresses[n.Name] = list
	}
	power, vm := 0, map[string]string{"BUILD": "building", "ACTIVE": "active", "ERROR": "error"}[v.Status]
	if v.Status == "ACTIVE" {
		power = 1
	}
	var task any
	if v.Task != "" {
		task = v.Task
	}
	f := flavorBy(v.Flavor)
	out := map[string]any{
		"id": v.ID, "name": v.Name, "status": v.Status, "tenant_id": projectID, "user_id": userID, "metadata": meta, "hostId": hostID,
		"image": map[string]any{"id": imageID}, "created": v.Created.UTC().Format(layout), "updated": v.Updated.UTC().Format(layout),
		"addresses": addresses, "accessIPv4": "", "accessIPv6": "", "key_name": v.KeyName, "config_drive": "", "progress": 0,
		"OS-EXT-STS:task_state": task, "OS-EXT-STS:vm_state": vm, "OS-EXT-STS:power_state": power, "OS-EXT-AZ:availability_zone": v.Zone,
		"OS-DCF:diskConfig": "MANUAL", "security_groups": []any{map[string]any{"name": "default"}}, "os-extended-volumes:volumes_attached": []any{},
	}
	if minor >= 47 { // 2.47: what the flavor was, instead of its ID
		out["flavor"] = map[string]any{"original_name": f.Name, "vcpus": f.VCPUs, "ram": f.RAM, "disk": f.Disk, "ephemeral": 0, "swap": 0, "extra_specs": map[string]any{}}
	} else {
		out["flavor"] = map[string]any{"id": f.ID}
	}
	if minor >= 26 {
		out["tags"] = append([]string{}, v.Tags...)
	}
	if v.Fault != nil && time.Since(v.Fault.Created) >= faultLag {
		out["fault"] = map[string]any{"code": v.Fault.Code, "message": v.Fault.Message, "created": v.Fault.Created.UTC().Format(layout)}
	}
	return out
}

// console is what the machine would have written to its serial port. The caller holds s.mu.
func (s *Server) console(v *server) string {
	var b strings.Builder
	fmt.Fprintf(&b, "sandbox: %s on %s\n", v.Name, hostName(v.Host))
	fmt.Fprintf(&b, "sandbox: flavor %s, CPUs %s (%s)\n", flavorBy(v.Flavor).Name, joinInts(v.CPUs), s.limit(v.ID))
	if len(v.UserData) > 0 {
		c, err := readCloudConfig(v.UserData)
		switch {
		case err != nil:
			fmt.Fprintf(&b, "cloud-init: %v\n", err)
		case len(c.Ignored) > 0:
			fmt.Fprintf(&b, "cloud-init: ignored here: %s\n", strings.Join(c.Ignored, ", "))
		}
	}
	switch {
	case v.Fault != nil:
		fmt.Fprintf(&b, "sandbox: boot ended: %s\n", v.Fault.Message)
	case v.Status == "ACTIVE":
		fmt.Fprintf(&b, "sshd: listening on %s\n%s login: \n", v.Address, v.Name)
	}
	return b.String()
}

func macOf(id string) string {
	h := sha256.Sum256([]byte(id))
	return fmt.Sprintf("fa:16:3e:%02x:%02x:%02x", h[0], h[1], h[2])
}

func joinInts(n []int) string {
	var out []string
	for _, i := range n {
		out = append(out, strconv.Itoa(i))
	}
	return strings.Join(out, ",")
}
