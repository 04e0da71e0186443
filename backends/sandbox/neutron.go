package sandbox

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// External is the name of the network that floating IPs come from.
const External = "public"

// Fixed IDs of what is there from the beginning, beside the one network of servers: the external
// network, and the security group of servers that name none.
const (
	externalID       = "5a6e6462-6f78-4000-8000-000000000004"
	externalSubnetID = "5a6e6462-6f78-4000-8000-000000000005"
	defaultGroupID   = "5a6e6462-6f78-4000-8000-000000000006"
)

// netObject is something of Neutron's that was made. Which fields it has depends on its kind.
type netObject struct {
	Kind        string            `json:"kind"` // as in paths
	ID          string            `json:"id"`
	Name        string            `json:"name,omitempty"`
	Description string            `json:"description,omitempty"`
	Tags        []string          `json:"tags,omitempty"`
	Created     time.Time         `json:"created"`
	Network     string            `json:"network,omitempty"` // of a subnet; of a router and a floating IP the external one
	CIDR        string            `json:"cidr,omitempty"`    // of a subnet
	Gateway     string            `json:"gateway,omitempty"`
	DNS         []string          `json:"dns,omitempty"`
	Ports       map[string]string `json:"ports,omitempty"`   // of a router, by subnet
	Address     string            `json:"address,omitempty"` // of a floating IP
	Port        string            `json:"port,omitempty"`
	Rules       []*netRule        `json:"rules,omitempty"` // of a security group
}

// netKind is what requests of Neutron are about.
type netKind struct {
	path, one, many string
	missing         string // the type of a 404
	words           string // its message
	make            func(s *Server, o *netObject, in *netRequest) *netError
	change          func(s *Server, o *netObject, in *netRequest) *netError
	busy            func(s *Server, o *netObject) *netError // what keeps it from being removed
	gone            func(s *Server, o *netObject)           // what goes with it
	show            func(s *Server, o *netObject) map[string]any
}

var netKinds = []*netKind{
	{path: "networks", one: "network", many: "networks", missing: "NetworkNotFound", words: "Network %s could not be found.",
		make: (*Server).makeNetwork, busy: (*Server).networkBusy, gone: (*Server).networkGone, show: (*Server).showNetwork},
	{path: "subnets", one: "subnet", many: "subnets", missing: "SubnetNotFound", words: "Subnet %s could not be found.",
		make: (*Server).makeSubnet, busy: (*Server).subnetBusy, show: (*Server).showSubnet},
	{path: "routers", one: "router", many: "routers", missing: "RouterNotFound", words: "Router %s could not be found",
		make: (*Server).makeRouter, busy: (*Server).routerBusy, show: (*Server).showRouter},
	{path: "floatingips", one: "floatingip", many: "floatingips", missing: "FloatingIPNotFound", words: "Floating IP %s could not be found",
		make: (*Server).makeFloating, change: (*Server).associate, gone: (*Server).floatingGone, show: (*Server).showFloating},
	{path: "security-groups", one: "security_group", many: "security_groups", missing: "SecurityGroupNotFound", words: "Security group %s does not exist",
		make: (*Server).makeGroup, busy: (*Server).groupBusy, show: (*Server).showGroup},
}

// netRequest is what may be asked for. Anything else is refused, for a wish that is silently ignored
// is worse.
type netRequest struct {
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Up          *bool    `json:"admin_state_up"`
	Project     string   `json:"project_id"`
	Tenant      string   `json:"tenant_id"`
	Network     string   `json:"network_id"`
	Version     int      `json:"ip_version"`
	CIDR        string   `json:"cidr"`
	Gateway     *string  `json:"gateway_ip"`
	DHCP        *bool    `json:"enable_dhcp"`
	DNS         []string `json:"dns_nameservers"`
	External    *struct {
		Network string `json:"network_id"`
		SNAT    *bool  `json:"enable_snat"`
	} `json:"external_gateway_info"`
	Pool string  `json:"floating_network_id"`
	Port *string `json:"port_id"`
}

// netError is a refusal of Neutron's.
type netError struct {
	code          int
	kind, message string
}

func netErrorf(code int, kind, format string, args ...any) *netError {
	return &netError{code, kind, fmt.Sprintf(format, args...)}
}

func (e *netError) reply(w http.ResponseWriter) {
	reply(w, e.code, map[string]any{"NeutronError": map[string]any{"type": e.kind, "message": e.message, "detail": ""}})
}

func (k *netKind) notFound(id string) *netError {
	return netErrorf(http.StatusNotFound, k.missing, k.words, id)
}

// neutron serves networks with what belongs to them.
func (s *Server) neutron() {
	s.root("/network", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]any{"versions": []any{map[string]any{"id": "v2.0", "status": "CURRENT",
			"links": []any{map[string]any{"rel": "self", "href": s.base + "/network/v2.0/"}}}}})
	})
	s.networking("GET /extensions", func(*http.Request) (int, any, *netError) {
		return http.StatusOK, map[string]any{"extensions": []any{}}, nil
	})
	s.networking("GET /ports", func(r *http.Request) (int, any, *netError) { return s.listNet(r, "ports", s.ports()) })
	for _, k := range netKinds {
		s.networking("GET /"+k.path, func(r *http.Request) (int, any, *netError) {
			var all []map[string]any
			for _, o := range s.netObjects(k.path) {
				all = append(all, k.show(s, o))
			}
			return s.listNet(r, k.many, all)
		})
		one := func(code int, f func(*Server, *netObject, *netRequest) *netError, o *netObject, r *http.Request) (int, any, *netError) {
			in, refused := readNet(r, k.one)
			if refused == nil {
				refused = f(s, o, in)
			}
			if refused != nil {
				return 0, nil, refused
			}
			s.st.Nets[o.ID] = o
			s.save()
			return code, map[string]any{k.one: k.show(s, o)}, nil
		}
		s.networking("POST /"+k.path, func(r *http.Request) (int, any, *netError) {
			if limit, ok := s.cfg.Quota.Neutron[k.one]; ok && s.netUsed(k) >= limit {
				return 0, nil, netErrorf(http.StatusConflict, "OverQuota", "Quota exceeded for resources: ['%s'].", k.one)
			}
			return one(http.StatusCreated, k.make, &netObject{Kind: k.path, ID: randomID(), Created: time.Now()}, r)
		})
		s.aboutNet("GET", k, "", func(o *netObject, _ *http.Request) (int, any, *netError) {
			return http.StatusOK, map[string]any{k.one: k.show(s, o)}, nil
		})
		if k.change != nil {
			s.aboutNet("PUT", k, "", func(o *netObject, r *http.Request) (int, any, *netError) { return one(http.StatusOK, k.change, o, r) })
		}
		s.aboutNet("PUT", k, "/tags", func(o *netObject, r *http.Request) (int, any, *netError) {
			var in struct {
				Tags []string `json:"tags"`
			}
			if err := read(r, &in); err != nil {
				return 0, nil, netErrorf(http.StatusBadRequest, "HTTPBadRequest", "%v", err)
			}
			o.Tags = in.Tags
			s.save()
			return http.StatusOK, in, nil
		})
		s.aboutNet("DELETE", k, "", func(o *netObject, _ *http.Request) (int, any, *netError) {
			if k.busy != nil {
				if refused := k.busy(s, o); refused != nil {
					return 0, nil, refused
				}
			}
			if k.gone != nil {
				k.gone(s, o)
			}
			delete(s.st.Nets, o.ID)
			s.save()
			return http.StatusNoContent, nil, nil
		})
	}
	s.routerPorts()
	s.networking("POST /security-group-rules", s.makeRule)
}

// networking routes a request, which is served with s.mu held.
func (s *Server) networking(pattern string, h func(*http.Request) (int, any, *netError)) {
	method, p, _ := strings.Cut(pattern, " ")
	s.mux.HandleFunc(method+" /network/v2.0"+p, s.auth(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		code, body, refused := h(r)
		switch {
		case refused != nil:
			refused.reply(w)
		case body == nil:
			w.WriteHeader(code)
		default:
			reply(w, code, body)
		}
	}))
}

// aboutNet routes a request about one object.
func (s *Server) aboutNet(method string, k *netKind, rest string, h func(*netObject, *http.Request) (int, any, *netError)) {
	s.networking(method+" /"+k.path+"/{id}"+rest, func(r *http.Request) (int, any, *netError) {
		id := r.PathValue("id")
		for _, o := range s.netObjects(k.path) {
			if o.ID != id {
				continue
			}
			if method != http.MethodGet && s.st.Nets[id] == nil { // of the cloud
				return 0, nil, netErrorf(http.StatusForbidden, "PolicyNotAuthorized", "It is disallowed by policy")
			}
			return h(o, r)
		}
		return 0, nil, k.notFound(id)
	})
}

func readNet(r *http.Request, one string) (*netRequest, *netError) {
	var body map[string]json.RawMessage
	if err := read(r, &body); err != nil || body[one] == nil {
		return nil, netErrorf(http.StatusBadRequest, "HTTPBadRequest", "Resource body required")
	}
	dec := json.NewDecoder(bytes.NewReader(body[one]))
	dec.DisallowUnknownFields()
	in := &netRequest{}
	if err := dec.Decode(in); err != nil {
		return nil, netErrorf(http.StatusNotImplemented, "NotImplemented", "the sandbox does not serve this %s: %v", one, err)
	}
	return in, nil
}

// netObjects are those of a kind by ID, those of the cloud first. The caller holds s.mu.
func (s *Server) netObjects(path string) []*netObject {
	var out []*netObject
	for _, o := range cloudNets {
		if o.Kind == path {
			out = append(out, o)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.st.Nets)) {
		if o := s.st.Nets[id]; o.Kind == path {
			out = append(out, o)
		}
	}
	return out
}

// netUsed is how many of a kind the project has. The caller holds s.mu.
func (s *Server) netUsed(k *netKind) int {
	n := 0
	for _, o := range s.netObjects(k.path) {
		if s.st.Nets[o.ID] != nil || o.ID == defaultGroupID {
			n++
		}
	}
	return n
}

// netDefault is the limit of lists without one; Neutron has none.
const netDefault = 1 << 30

// listNet answers with what fits the query, which is of attributes but for a few names.
func (s *Server) listNet(r *http.Request, many string, all []map[string]any) (int, any, *netError) {
	q, out := r.URL.Query(), []any{}
	limit, err := strconv.Atoi(cmp.Or(q.Get("limit"), strconv.Itoa(netDefault)))
	if err != nil {
		return 0, nil, netErrorf(http.StatusBadRequest, "HTTPBadRequest", "Limit must be an integer 0 or greater and not '%s'", q.Get("limit"))
	}
	past := q.Get("marker") == ""
	for _, o := range all {
		fits, refused := netFits(o, q)
		if refused != nil {
			return 0, nil, refused
		}
		if past && fits && len(out) == limit {
			q.Set("marker", out[limit-1].(map[string]any)["id"].(string))
			next := map[string]any{"rel": "next", "href": s.base + r.URL.Path + "?" + q.Encode()}
			return http.StatusOK, map[string]any{many: out, many + "_links": []any{next}}, nil
		}
		if past && fits {
			out = append(out, o)
		}
		past = past || o["id"] == q.Get("marker")
	}
	return http.StatusOK, map[string]any{many: out}, nil
}

func netFits(o map[string]any, q url.Values) (bool, *netError) {
	for key, values := range q {
		switch key {
		case "fields", "limit", "marker", "sort_key", "sort_dir", "page_reverse": // fields narrows what is shown: more does no harm
		case "tags":
			has, _ := o["tags"].([]string)
			for _, t := range strings.Split(values[0], ",") {
				if !slices.Contains(has, t) {
					return false, nil
				}
			}
		default:
			is, known := o[key]
			if !known {
				return false, netErrorf(http.StatusBadRequest, "HTTPBadRequest", "['%s'] is invalid attribute for filtering", key)
			}
			if !slices.ContainsFunc(values, func(v string) bool { return strings.EqualFold(v, fmt.Sprint(is)) }) {
				return false, nil
			}
		}
	}
	return true, nil
}

// common is what all objects show.
func (o *netObject) common(more map[string]any) map[string]any {
	at := o.Created.UTC().Format("2006-01-02T15:04:05Z")
	out := map[string]any{"id": o.ID, "name": o.Name, "description": o.Description, "tags": append([]string{}, o.Tags...),
		"tenant_id": projectID, "project_id": projectID, "created_at": at, "updated_at": at, "revision_number": 1}
	maps.Copy(out, more)
	return out
}
