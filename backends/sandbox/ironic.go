package sandbox

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"dlx.dev/dlx/backends"
)

// The microversions of Ironic 21.1 (Zed).
const ironicMin, ironicMax = 1, 82

// node is one of Ironic's. As born it is available, powered off, and belongs to nobody.
type node struct {
	ID           string         `json:"id"`
	Name         string         `json:"name"`
	Index        int            `json:"index"`
	State        string         `json:"state"`
	Target       string         `json:"target,omitempty"`
	Instance     string         `json:"instance,omitempty"`
	Allocation   string         `json:"allocation,omitempty"`
	InstanceInfo map[string]any `json:"instanceInfo,omitempty"`
	Extra        map[string]any `json:"extra,omitempty"`
	LastError    string         `json:"lastError,omitempty"`
	UserData     []byte         `json:"userData,omitempty"`
	PublicKey    string         `json:"publicKey,omitempty"`
	Ready        time.Time      `json:"ready"` // when the change that goes on will be over
}

// allocation gives a node to somebody.
type allocation struct {
	ID        string         `json:"id"`
	Name      string         `json:"name"`
	State     string         `json:"state"` // allocating, active, error
	Class     string         `json:"class"`
	Node      string         `json:"node,omitempty"`
	Extra     map[string]any `json:"extra,omitempty"`
	LastError string         `json:"lastError,omitempty"`
	Created   time.Time      `json:"created"`
}

// bearNodes makes one node a host, and puts in what the state knows of them.
func (s *Server) bearNodes() {
	for i := range s.cfg.Hosts {
		n := &node{ID: fmt.Sprintf("5a6e6462-6f78-4000-8001-%012d", i+1), Name: "node" + strconv.Itoa(i+1), Index: i, State: "available"}
		if old := s.st.Nodes[n.ID]; old != nil {
			n = old
		}
		s.nodes = append(s.nodes, n)
	}
}

// address is where the node will be reached: fixed, as the cabling of a real one.
func (n *node) address() string { return fmt.Sprintf("127.78.0.%d", n.Index+1) }

// machineID names the node's machine folder.
func (n *node) machineID() string { return "node-" + n.ID }

// keep notes the nodes that are not as they were born, and writes the state. The caller holds s.mu.
func (s *Server) keep() {
	for _, n := range s.nodes {
		if n.State == "available" && n.Allocation == "" && len(n.InstanceInfo)+len(n.Extra) == 0 {
			delete(s.st.Nodes, n.ID)
		} else {
			s.st.Nodes[n.ID] = n
		}
	}
	s.save()
}

// resumeNodes goes on with what nodes were doing. The caller holds s.mu.
func (s *Server) resumeNodes() error {
	for _, n := range s.nodes {
		switch n.State {
		case "active":
			if err := s.openNode(n); err != nil {
				return err
			}
		case "deploying":
			s.later("node "+n.ID, time.Until(n.Ready), func() { s.deployed(n) })
		case "deleting":
			s.later("node "+n.ID, 0, func() { s.undeployed(n) })
		case "cleaning":
			s.later("node "+n.ID, time.Until(n.Ready), func() { s.cleaned(n) })
		}
	}
	for _, a := range s.st.Allocations {
		if a.State == "allocating" {
			s.later("allocate "+a.ID, 0, func() { s.allocate(a.ID) })
		}
	}
	return nil
}

func (s *Server) openNode(n *node) error {
	return s.open(n.machineID(), n.Name, n.address(), n.PublicKey, n.UserData, s.cpusOf(n.Index, s.cfg.CPUsPerHost))
}

// ironic serves nodes and allocations.
func (s *Server) ironic() {
	version := map[string]any{"id": "v1", "status": "CURRENT", "version": fmt.Sprintf("1.%d", ironicMax), "min_version": fmt.Sprintf("1.%d", ironicMin),
		"links": []any{map[string]any{"rel": "self", "href": s.base + "/baremetal/v1/"}}}
	s.root("/baremetal", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]any{"name": "OpenStack Ironic API", "default_version": version, "versions": []any{version}})
	})
	s.root("/baremetal/v1", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]any{"id": "v1", "version": version})
	})
	s.metal("GET /nodes", s.listNodes)
	s.metal("GET /nodes/{$}", s.listNodes) // as ironicclient asks for some fields
	s.metal("GET /nodes/detail", s.listNodes)
	s.metal("GET /nodes/{id}", s.showNode)
	s.metal("PATCH /nodes/{id}", s.patchNode)
	s.metal("PUT /nodes/{id}/states/provision", s.provision)
	s.metal("GET /allocations", s.listAllocations)
	s.metal("POST /allocations", s.createAllocation)
	s.metal("GET /allocations/{id}", s.showAllocation)
	s.metal("DELETE /allocations/{id}", s.deleteAllocation)
}

// metal routes a request of Ironic, with token and microversion checked.
func (s *Server) metal(pattern string, h http.HandlerFunc) {
	method, p, _ := strings.Cut(pattern, " ")
	s.mux.HandleFunc(method+" /baremetal/v1"+p, s.auth(func(w http.ResponseWriter, r *http.Request) {
		minor := ironicMin
		if v := r.Header.Get("X-OpenStack-Ironic-API-Version"); v != "" {
			major, m, _ := strings.Cut(v, ".")
			n, err := strconv.Atoi(m)
			if major != "1" || err != nil || n < ironicMin || n > ironicMax {
				ironicError(w, http.StatusNotAcceptable, fmt.Sprintf("Version %s was requested but the requested API version is not supported by this service. "+
					"The supported version range is: ['1.%d', '1.%d'].", v, ironicMin, ironicMax))
				return
			}
			minor = n
		}
		if strings.HasPrefix(p, "/allocations") && minor < 52 { // 1.52: allocations
			ironicError(w, http.StatusNotFound, "Not found")
			return
		}
		h(w, r)
	}))
}

// ironicError answers as Ironic does: JSON in a JSON string.
func ironicError(w http.ResponseWriter, code int, message string) {
	who := "Client"
	if code >= 500 {
		who = "Server"
	}
	inner, _ := json.Marshal(map[string]any{"faultcode": who, "faultstring": message, "debuginfo": nil})
	reply(w, code, map[string]any{"error_message": string(inner)})
}

// node finds a node by ID or name. The caller holds s.mu.
func (s *Server) node(key string) *node {
	for _, n := range s.nodes {
		if n.ID == key || n.Name == key {
			return n
		}
	}
	return nil
}

// nodeJSON is a node as Ironic shows it. The caller holds s.mu.
func (s *Server) nodeJSON(n *node) map[string]any {
	orNull := func(v string) any {
		if v == "" {
			return nil
		}
		return v
	}
	power := "power off"
	if n.State == "active" || n.State == "deploying" {
		power = "power on"
	}
	extra := map[string]any{"address": n.address()}
	for k, v := range n.Extra {
		extra[k] = v
	}
	info := map[string]any{}
	for k, v := range n.InstanceInfo {
		info[k] = v
	}
	properties := map[string]any{"cpu_arch": "x86_64", "cpus": strconv.Itoa(s.cfg.CPUsPerHost), backends.SandboxFact: processOf}
	if l := s.limit(n.machineID()); l != "" {
		properties[limitFact] = l
	}
	return map[string]any{"uuid": n.ID, "name": n.Name, "provision_state": n.State, "target_provision_state": orNull(n.Target), "power_state": power,
		"instance_uuid": orNull(n.Instance), "allocation_uuid": orNull(n.Allocation), "instance_info": info, "extra": extra, "last_error": orNull(n.LastError),
		"maintenance": false, "resource_class": ResourceClass, "driver": "fake-hardware", "properties": properties}
}

func (s *Server) listNodes(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := r.URL.Query()
	list := []any{}
	for _, n := range s.nodes {
		if a := q.Get("associated"); a != "" && (a == "True" || a == "true") != (n.Instance != "") {
			continue
		}
		if c := q.Get("resource_class"); c != "" && c != ResourceClass {
			continue
		}
		if p := q.Get("provision_state"); p != "" && p != n.State {
			continue
		}
		shown := s.nodeJSON(n)
		hideError(shown, q)
		list = append(list, shown)
	}
	reply(w, http.StatusOK, map[string]any{"nodes": list})
}

// hideError does as Ironic's policy for owners: it is checked against what is shown of a node.
func hideError(node map[string]any, q url.Values) {
	if f := q.Get("fields"); f != "" && !slices.Contains(strings.Split(f, ","), "owner") {
		node["last_error"] = "** Value Redacted - Requires baremetal:node:get:last_error permission. **"
	}
}

func (s *Server) showNode(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.node(r.PathValue("id"))
	if n == nil {
		ironicError(w, http.StatusNotFound, "Node "+r.PathValue("id")+" could not be found.")
		return
	}
	shown := s.nodeJSON(n)
	hideError(shown, r.URL.Query())
	reply(w, http.StatusOK, shown)
}

// patchNode is a JSON patch of instance_info and extra.
func (s *Server) patchNode(w http.ResponseWriter, r *http.Request) {
	var ops []struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	if err := read(r, &ops); err != nil {
		ironicError(w, http.StatusBadRequest, err.Error())
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.node(r.PathValue("id"))
	if n == nil {
		ironicError(w, http.StatusNotFound, "Node "+r.PathValue("id")+" could not be found.")
		return
	}
	if n.busy() {
		ironicError(w, http.StatusConflict, n.locked())
		return
	}
	for _, op := range ops {
		field, key, deep := strings.Cut(strings.TrimPrefix(op.Path, "/"), "/")
		var m *map[string]any
		switch field {
		case "instance_info":
			m = &n.InstanceInfo
		case "extra":
			m = &n.Extra
		}
		if m == nil || !deep || strings.Contains(key, "/") || op.Op != "add" && op.Op != "replace" && op.Op != "remove" {
			ironicError(w, http.StatusNotImplemented, fmt.Sprintf("the sandbox does not serve the patch %s %s", op.Op, op.Path))
			return
		}
		if *m == nil {
			*m = map[string]any{}
		}
		if op.Op == "remove" {
			delete(*m, key)
		} else {
			(*m)[key] = op.Value
		}
	}
	s.keep()
	reply(w, http.StatusOK, s.nodeJSON(n))
}

// busy reports whether a change goes on that locks the node.
func (n *node) busy() bool {
	return n.State == "deploying" || n.State == "deleting" || n.State == "cleaning"
}

func (n *node) locked() string {
	return fmt.Sprintf("Node %s is locked by host sandbox, please retry after the current operation is completed.", n.ID)
}
