package sandbox

import (
	"cmp"
	"net/http"
)

// unlimited is what Nova and Neutron say of what has no limit.
const unlimited = -1

// quotaSets serves /os-quota-sets of Nova and /quotas of Neutron, which are only shown. There is
// one project, whatever its name in the path.
func (s *Server) quotaSets() {
	for _, p := range []string{"", "/defaults"} {
		s.compute("GET /os-quota-sets/{project}"+p, func(w http.ResponseWriter, r *http.Request, _ int) {
			set := map[string]any{"id": r.PathValue("project")}
			limits, _ := s.quotas()
			for name, limit := range limits {
				set[name] = limit
			}
			reply(w, http.StatusOK, map[string]any{"quota_set": set})
		})
	}
	s.compute("GET /os-quota-sets/{project}/detail", func(w http.ResponseWriter, r *http.Request, _ int) {
		set := map[string]any{"id": r.PathValue("project")}
		limits, used := s.quotas()
		for name, limit := range limits {
			set[name] = map[string]any{"limit": limit, "in_use": used[name], "reserved": 0}
		}
		reply(w, http.StatusOK, map[string]any{"quota_set": set})
	})
	network := func(w http.ResponseWriter, _ *http.Request) {
		set := map[string]any{}
		for name, q := range s.netQuotas() {
			set[name] = q["limit"]
		}
		reply(w, http.StatusOK, map[string]any{"quota": set})
	}
	s.mux.HandleFunc("GET /network/v2.0/quotas/{project}", s.auth(network))
	s.mux.HandleFunc("GET /network/v2.0/quotas/{project}/details.json", s.auth(func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]any{"quota": s.netQuotas()})
	}))
	s.mux.HandleFunc("GET /network/v2.0/quotas/{project}/default", s.auth(network))
}

// netQuotas is what Neutron allows the project, and what it has of it.
func (s *Server) netQuotas() map[string]map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]map[string]int{}
	for _, name := range []string{"port", "rbac_policy", "security_group_rule", "subnetpool"} {
		out[name] = map[string]int{"limit": unlimited, "used": 0, "reserved": 0}
	}
	out["port"]["used"] = len(s.ports())
	for _, k := range netKinds {
		out[k.one] = map[string]int{"limit": unlimited, "used": s.netUsed(k), "reserved": 0}
		if limit, ok := s.cfg.Quota.Neutron[k.one]; ok {
			out[k.one]["limit"] = limit
		}
	}
	return out
}

// quotas is what Nova allows the project, and what it has of it.
func (s *Server) quotas() (limits, used map[string]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, u := s.cfg.Quota, s.used()
	limits = map[string]int{"instances": q.Instances, "cores": q.Cores, "ram": q.RAM, "key_pairs": cmp.Or(q.KeyPairs, maxKeyPairs),
		"server_groups": cmp.Or(q.ServerGroups, maxServerGroups), "server_group_members": cmp.Or(q.GroupMembers, maxGroupMembers), "metadata_items": maxMetadata}
	used = map[string]int{"instances": u.Instances, "cores": u.Cores, "ram": u.RAM, "server_groups": len(s.st.ServerGroups)}
	return limits, used
}
