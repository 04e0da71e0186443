package sandbox

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// serverRequest is what a server may be asked for with. Anything else is refused, for a wish
// that is silently ignored is worse.
type serverRequest struct {
	Name      string          `json:"name"`
	FlavorRef string          `json:"flavorRef"`
	ImageRef  string          `json:"imageRef"`
	Networks  json.RawMessage `json:"networks"`
	Groups    []struct {
		Name string `json:"name"`
	} `json:"security_groups"`
	KeyName  string            `json:"key_name"`
	UserData string            `json:"user_data"`
	Tags     []string          `json:"tags"`
	Metadata map[string]string `json:"metadata"`
	Zone     string            `json:"availability_zone"`
	Drive    json.RawMessage   `json:"config_drive"`
	Min      int               `json:"min_count"`
	Max      int               `json:"max_count"`
}

// maxUserData is Nova's limit for the encoded text.
const maxUserData = 65535

// createServer is POST /servers.
func (s *Server) createServer(w http.ResponseWriter, r *http.Request, minor int) {
	var in struct {
		Server json.RawMessage `json:"server"`
		Hints  json.RawMessage `json:"os:scheduler_hints"`
	}
	var q serverRequest
	if err := read(r, &in); err != nil {
		novaError(w, http.StatusBadRequest, err.Error())
		return
	}
	dec := json.NewDecoder(bytes.NewReader(in.Server))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&q); err != nil {
		novaError(w, http.StatusNotImplemented, "the sandbox does not serve this server: "+err.Error())
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	group, code, refused := s.groupOf(in.Hints)
	if refused != "" {
		novaError(w, code, refused)
		return
	}
	v, code, refused := s.admit(&q, minor)
	if refused != "" {
		novaError(w, code, refused)
		return
	}
	v.Group = group
	s.st.Servers[v.ID] = v
	if !s.place(v) {
		s.fail(v, http.StatusInternalServerError, "No valid host was found. There are not enough hosts available.")
	} else {
		s.later("boot "+v.ID, s.cfg.BuildTime, func() { s.boot(v.ID) })
	}
	s.save()
	reply(w, http.StatusAccepted, map[string]any{"server": map[string]any{"id": v.ID, "OS-DCF:diskConfig": "MANUAL",
		"security_groups": []any{}, "links": []any{map[string]any{"rel": "self", "href": s.base + "/compute/v2.1/servers/" + v.ID}}}})
}

// admit makes a server out of a request, or says why not. The caller holds s.mu.
func (s *Server) admit(q *serverRequest, minor int) (v *server, code int, refused string) {
	f := flavorBy(q.FlavorRef[strings.LastIndex(q.FlavorRef, "/")+1:])
	bad := func(format string, a ...any) (*server, int, string) {
		return nil, http.StatusBadRequest, fmt.Sprintf(format, a...)
	}
	switch {
	case q.Name == "" || len(q.Name) > 255:
		return bad("Invalid input for field/attribute name. Value: %s. %q is too short or too long", q.Name, q.Name)
	case q.Tags != nil && minor < 52: // 2.52: tags at creation
		return bad("Invalid input for field/attribute server. Additional properties are not allowed ('tags' was unexpected)")
	case len(q.UserData) > maxUserData:
		return bad("Invalid input for field/attribute user_data. Value: %s. '%s' is too long", q.UserData, q.UserData)
	case q.Min > 1 || q.Max > 1:
		return nil, http.StatusNotImplemented, "the sandbox makes one server a request"
	case f == nil:
		return bad("Flavor %s could not be found.", q.FlavorRef)
	case q.ImageRef != imageID:
		return bad("Can not find requested image")
	case q.Zone != "" && q.Zone != Zone:
		return bad("The requested availability zone is not available")
	}
	for _, t := range q.Tags {
		if t == "" || len(t) > 60 || strings.ContainsAny(t, "/,") {
			return bad("Invalid input for field/attribute tags. Value: %s.", t)
		}
	}
	network, why := s.checkNetworks(q.Networks, minor)
	if why != "" {
		return bad("%s", why)
	}
	var groups []string
	for _, g := range q.Groups {
		all := s.netObjects("security-groups")
		i := slices.IndexFunc(all, func(o *netObject) bool { return o.ID == g.Name || o.Name == g.Name })
		if i < 0 {
			return bad("Security group %s not found for project %s.", g.Name, projectID)
		}
		groups = append(groups, all[i].ID)
	}
	data, err := base64.StdEncoding.DecodeString(q.UserData)
	if err != nil {
		return bad("Invalid input for field/attribute user_data. Value: %s. %q is not a 'base64'", q.UserData, q.UserData)
	}
	key := s.st.Keypairs[q.KeyName]
	if q.KeyName != "" && key == nil {
		return bad("Invalid key_name provided.")
	}
	if why := s.overQuota(f); why != "" {
		return nil, http.StatusForbidden, why
	}
	now := time.Now()
	v = &server{ID: randomID(), Name: q.Name, Flavor: f.ID, Zone: Zone, KeyName: q.KeyName, UserData: data, Tags: slices.Clone(q.Tags),
		Metadata: q.Metadata, Status: "BUILD", Task: "scheduling", Created: now, Updated: now, Ready: now.Add(s.cfg.BuildTime)}
	v.Network, v.Groups = network, groups
	if key != nil {
		v.PublicKey = key.PublicKey
	}
	return v, 0, ""
}

// checkNetworks gives the network of a request, or says what is wrong with it. From 2.37 on it must
// be named, or be "auto" or "none". The caller holds s.mu.
func (s *Server) checkNetworks(raw json.RawMessage, minor int) (id, wrong string) {
	var list []struct {
		UUID string `json:"uuid"`
	}
	switch string(raw) {
	case "", "null":
		if minor >= 37 {
			return "", "Invalid input for field/attribute server. 'networks' is a required property"
		}
	case `"auto"`, `"none"`:
	default:
		if err := json.Unmarshal(raw, &list); err != nil {
			return "", "Invalid input for field/attribute networks."
		}
		if len(list) > 1 {
			return "", "the sandbox gives a server one network"
		}
		for _, n := range list {
			if s.find("networks", n.UUID) == nil {
				return "", "Network " + n.UUID + " could not be found."
			}
			id = n.UUID
		}
	}
	return id, ""
}

// place finds the host with the least vCPUs in use that has room. The caller holds s.mu.
func (s *Server) place(v *server) bool {
	used := make([]int, s.cfg.Hosts)
	for _, o := range s.st.Servers {
		if o.Placed && !o.Apart && o.Host < len(used) {
			used[o.Host] += s.takes(flavorBy(o.Flavor))
		}
	}
	want, may := s.takes(flavorBy(v.Flavor)), s.allowed(v)
	best := -1
	for h, n := range used {
		if may(h) && n+want <= s.cfg.CPUsPerHost*overcommit && (best < 0 || n < used[best]) {
			best = h
		}
	}
	if best < 0 {
		return false
	}
	v.Host, v.Placed, v.Task = best, true, "spawning"
	return true
}

// boot ends the building of a server.
func (s *Server) boot(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.st.Servers[id]
	if v == nil || v.Status != "BUILD" || v.Task == "deleting" {
		return
	}
	if f := s.cfg.Faults.booting(v.Name); f != nil {
		if !f.forever {
			s.fail(v, f.code, f.reason)
			s.save()
		}
		return
	}
	v.CPUs = s.cpusOf(v.Host, flavorBy(v.Flavor).VCPUs)
	if err := s.give(v); err != nil {
		s.fail(v, http.StatusInternalServerError, err.Error())
	} else {
		v.Status, v.Task, v.Updated = "ACTIVE", "", time.Now()
	}
	s.save()
}

// give opens the server's machine at a free address.
func (s *Server) give(v *server) error {
	var err error
	for range 50 {
		s.st.Next++
		n := s.st.Next % (120 * 250)
		v.Address = fmt.Sprintf("127.77.%d.%d", n/250, n%250+1)
		if err = s.open(v.ID, v.Name, v.Address, v.PublicKey, v.UserData, v.CPUs); err == nil || !inUse(err) {
			return err
		}
	}
	return err
}

// fail puts a server into ERROR. The caller holds s.mu.
func (s *Server) fail(v *server, code int, why string) {
	v.Status, v.Task, v.Updated = "ERROR", "", time.Now()
	v.Fault = &fault{Code: code, Message: why, Created: v.Updated}
}

// deleteServer is DELETE /servers/{id}.
func (s *Server) deleteServer(w http.ResponseWriter, r *http.Request, _ int) {
	id := r.PathValue("id")
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.st.Servers[id]
	if v == nil {
		novaError(w, http.StatusNotFound, "Instance "+id+" could not be found.")
		return
	}
	if v.Task != "deleting" {
		v.Task, v.Updated = "deleting", time.Now()
		if t := s.timers["boot "+id]; t != nil {
			t.Stop()
			delete(s.timers, "boot "+id)
		}
		s.later("delete "+id, s.cfg.DeleteTime, func() { s.vanish(id) })
		s.save()
	}
	w.WriteHeader(http.StatusNoContent)
}

// vanish ends all processes of a server, then forgets it.
func (s *Server) vanish(id string) {
	s.destroy(id)
	s.nodeGone(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.st.Servers, id)
	s.save()
}
