package sandbox

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
)

// serverGroup says how servers stand on hosts.
type serverGroup struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Policy string `json:"policy"` // "affinity" or "anti-affinity"
}

// policySince is the microversion from which a group has one policy instead of a list.
const policySince = 64

// servergroups serves /os-server-groups of Nova.
func (s *Server) servergroups() {
	s.compute("GET /os-server-groups", func(w http.ResponseWriter, _ *http.Request, minor int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		list := []any{}
		for _, id := range slices.Sorted(maps.Keys(s.st.ServerGroups)) {
			list = append(list, s.groupJSON(s.st.ServerGroups[id], minor))
		}
		reply(w, http.StatusOK, map[string]any{"server_groups": list})
	})
	s.compute("GET /os-server-groups/{id}", s.groupOr404(func(w http.ResponseWriter, g *serverGroup, minor int) {
		reply(w, http.StatusOK, map[string]any{"server_group": s.groupJSON(g, minor)})
	}))
	s.compute("DELETE /os-server-groups/{id}", s.groupOr404(func(w http.ResponseWriter, g *serverGroup, _ int) {
		delete(s.st.ServerGroups, g.ID)
		s.save()
		w.WriteHeader(http.StatusNoContent)
	}))
	s.compute("POST /os-server-groups", s.createGroup)
}

func (s *Server) groupOr404(h func(http.ResponseWriter, *serverGroup, int)) func(http.ResponseWriter, *http.Request, int) {
	return func(w http.ResponseWriter, r *http.Request, minor int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		g := s.st.ServerGroups[r.PathValue("id")]
		if g == nil {
			novaError(w, http.StatusNotFound, "Instance group "+r.PathValue("id")+" could not be found.")
			return
		}
		h(w, g, minor)
	}
}

func (s *Server) createGroup(w http.ResponseWriter, r *http.Request, minor int) {
	var in struct {
		Group struct {
			Name     string   `json:"name"`
			Policy   string   `json:"policy"`
			Policies []string `json:"policies"`
		} `json:"server_group"`
	}
	if err := read(r, &in); err != nil {
		novaError(w, http.StatusBadRequest, err.Error())
		return
	}
	g := &serverGroup{ID: randomID(), Name: in.Group.Name, Policy: in.Group.Policy}
	if minor < policySince && len(in.Group.Policies) == 1 {
		g.Policy = in.Group.Policies[0]
	}
	switch {
	case g.Name == "":
		novaError(w, http.StatusBadRequest, "Invalid input for field/attribute name.")
		return
	case g.Policy != "affinity" && g.Policy != "anti-affinity":
		novaError(w, http.StatusBadRequest, "Invalid input for field/attribute 0. Value: "+g.Policy+".")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if full(len(s.st.ServerGroups), s.cfg.Quota.ServerGroups, maxServerGroups) {
		novaError(w, http.StatusForbidden, "Quota exceeded, too many server groups.")
		return
	}
	s.st.ServerGroups[g.ID] = g
	s.save()
	reply(w, http.StatusOK, map[string]any{"server_group": s.groupJSON(g, minor)})
}

// groupJSON shows a group. The caller holds s.mu.
func (s *Server) groupJSON(g *serverGroup, minor int) map[string]any {
	out := map[string]any{"id": g.ID, "name": g.Name, "members": s.membersOf(g.ID)}
	if minor >= policySince {
		out["policy"], out["rules"] = g.Policy, map[string]any{}
	} else {
		out["policies"], out["metadata"] = []string{g.Policy}, map[string]any{}
	}
	return out
}

// membersOf lists the servers of a group. The caller holds s.mu.
func (s *Server) membersOf(group string) []string {
	members := []string{}
	for _, id := range slices.Sorted(maps.Keys(s.st.Servers)) {
		if s.st.Servers[id].Group == group {
			members = append(members, id)
		}
	}
	return members
}

// groupOf reads the scheduler hints of a request, of which "group" is the one that is served. The
// caller holds s.mu.
func (s *Server) groupOf(hints json.RawMessage) (group string, code int, refused string) {
	if len(hints) == 0 || string(hints) == "null" {
		return "", 0, ""
	}
	var in map[string]any
	if err := json.Unmarshal(hints, &in); err != nil {
		return "", http.StatusBadRequest, "Invalid input for field/attribute os:scheduler_hints."
	}
	for k := range in {
		if k != "group" {
			return "", http.StatusNotImplemented, "the sandbox serves no scheduler hint but group: " + k
		}
	}
	group, _ = in["group"].(string)
	if group != "" && s.st.ServerGroups[group] == nil {
		return "", http.StatusBadRequest, "Instance group " + group + " could not be found."
	}
	if group != "" && full(len(s.membersOf(group)), s.cfg.Quota.GroupMembers, maxGroupMembers) {
		return "", http.StatusForbidden, "Quota exceeded, too many servers in group"
	}
	return group, 0, ""
}

// allowed says which hosts the group of a server leaves it. The caller holds s.mu.
func (s *Server) allowed(v *server) func(host int) bool {
	g := s.st.ServerGroups[v.Group]
	if g == nil {
		return func(int) bool { return true }
	}
	taken := map[int]bool{}
	for _, o := range s.st.Servers {
		if o.ID != v.ID && o.Group == g.ID && o.Placed {
			taken[o.Host] = true
		}
	}
	return func(host int) bool {
		if g.Policy == "anti-affinity" {
			return !taken[host]
		}
		return len(taken) == 0 || taken[host]
	}
}
