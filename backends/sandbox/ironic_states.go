package sandbox

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"
)

// provision is PUT /nodes/{id}/states/provision.
func (s *Server) provision(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Target string          `json:"target"`
		Drive  json.RawMessage `json:"configdrive"`
	}
	if err := read(r, &in); err != nil {
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
	switch {
	case in.Target == "active" && n.State == "available":
		if n.InstanceInfo["image_source"] == nil {
			ironicError(w, http.StatusBadRequest, fmt.Sprintf("Failed to validate deploy or power info for node %s. Error: Cannot validate image information for node %s "+
				"because one or more parameters are missing from its instance_info. Missing are: ['image_source']", n.ID, n.ID))
			return
		}
		if err := n.takeDrive(in.Drive); err != nil {
			ironicError(w, http.StatusBadRequest, err.Error())
			return
		}
		n.State, n.Target, n.LastError, n.Ready = "deploying", "active", "", time.Now().Add(s.cfg.BuildTime)
		s.later("node "+n.ID, s.cfg.BuildTime, func() { s.deployed(n) })
	case in.Target == "deleted" && slices.Contains([]string{"active", "deploy failed", "error"}, n.State):
		n.State, n.Target, n.LastError = "deleting", "available", ""
		s.later("node "+n.ID, s.cfg.DeleteTime, func() { s.undeployed(n) })
	case in.Target == "manage" && n.State == "available":
		n.State = "manageable"
	case in.Target == "provide" && n.State == "manageable":
		n.State = "available"
	default:
		ironicError(w, http.StatusBadRequest, fmt.Sprintf("The requested action %q can not be performed on node %q while it is in state %q.", in.Target, n.ID, n.State))
		return
	}
	s.keep()
	w.WriteHeader(http.StatusAccepted)
}

// takeDrive reads a config drive given as JSON (1.56): the user data and the keys of the login.
func (n *node) takeDrive(raw json.RawMessage) error {
	n.UserData, n.PublicKey = nil, ""
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	var drive struct {
		MetaData struct {
			PublicKeys map[string]string `json:"public_keys"`
		} `json:"meta_data"`
		UserData string `json:"user_data"`
	}
	if err := json.Unmarshal(raw, &drive); err != nil {
		return fmt.Errorf("the sandbox reads a configdrive as a JSON object only: %w", err)
	}
	n.UserData = []byte(drive.UserData)
	for _, name := range slices.Sorted(maps.Keys(drive.MetaData.PublicKeys)) {
		n.PublicKey = drive.MetaData.PublicKeys[name]
	}
	return nil
}

// deployed ends a deployment.
func (s *Server) deployed(n *node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n.State != "deploying" {
		return
	}
	name := n.Name
	if a := s.st.Allocations[n.Allocation]; a != nil {
		name = a.Name
	}
	why := ""
	if f := s.cfg.Faults.booting(name); f != nil {
		if f.forever {
			return
		}
		why = f.reason
	} else if err := s.openNode(n); err != nil {
		why = err.Error()
	}
	if why != "" {
		n.State, n.LastError = "deploy failed", why
	} else {
		n.State, n.Target = "active", ""
	}
	s.keep()
}

// undeployed ends the tearing down: the instance is gone, and with it the allocation.
func (s *Server) undeployed(n *node) {
	s.destroy(n.machineID())
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.st.Allocations, n.Allocation)
	n.State, n.Instance, n.Allocation = "cleaning", "", ""
	n.InstanceInfo, n.UserData, n.PublicKey = nil, nil, ""
	n.Ready = time.Now().Add(s.cfg.DeleteTime)
	if s.cfg.DeleteTime == 0 {
		n.State, n.Target = "available", ""
	} else {
		s.later("node "+n.ID, s.cfg.DeleteTime, func() { s.cleaned(n) })
	}
	s.keep()
}

func (s *Server) cleaned(n *node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n.State, n.Target = "available", ""
	s.keep()
}

func (a *allocation) json() map[string]any {
	orNull := func(v string) any {
		if v == "" {
			return nil
		}
		return v
	}
	return map[string]any{"uuid": a.ID, "name": a.Name, "state": a.State, "resource_class": a.Class, "node_uuid": orNull(a.Node), "extra": a.Extra,
		"last_error": orNull(a.LastError), "candidate_nodes": []any{}, "traits": []any{}, "created_at": a.Created.UTC().Format(time.RFC3339)}
}

func (s *Server) listAllocations(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []any{}
	for _, id := range slices.Sorted(maps.Keys(s.st.Allocations)) {
		list = append(list, s.st.Allocations[id].json())
	}
	reply(w, http.StatusOK, map[string]any{"allocations": list})
}

// allocation finds one by ID or name. The caller holds s.mu.
func (s *Server) allocation(key string) *allocation {
	for _, a := range s.st.Allocations {
		if a.ID == key || a.Name == key && key != "" {
			return a
		}
	}
	return nil
}

func (s *Server) createAllocation(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Name          string         `json:"name"`
		ResourceClass string         `json:"resource_class"`
		Extra         map[string]any `json:"extra"`
	}
	if err := read(r, &in); err != nil || in.ResourceClass == "" {
		ironicError(w, http.StatusBadRequest, "Mandatory field resource_class is missing.")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if in.Name != "" && s.allocation(in.Name) != nil {
		ironicError(w, http.StatusConflict, "An allocation with name "+in.Name+" already exists.")
		return
	}
	a := &allocation{ID: randomID(), Name: in.Name, State: "allocating", Class: in.ResourceClass, Extra: in.Extra, Created: time.Now()}
	s.st.Allocations[a.ID] = a
	s.later("allocate "+a.ID, 0, func() { s.allocate(a.ID) })
	s.keep()
	reply(w, http.StatusCreated, a.json())
}

// allocate finds a free node.
func (s *Server) allocate(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.st.Allocations[id]
	if a == nil {
		return
	}
	a.State = "error"
	a.LastError = fmt.Sprintf("Failed to process allocation %s: no available nodes match the resource class %s.", a.ID, a.Class)
	for _, n := range s.nodes {
		if a.Class == ResourceClass && n.State == "available" && n.Instance == "" {
			n.Instance, n.Allocation = a.ID, a.ID
			a.State, a.Node, a.LastError = "active", n.ID, ""
			break
		}
	}
	s.keep()
}

func (s *Server) showAllocation(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.allocation(r.PathValue("id"))
	if a == nil {
		ironicError(w, http.StatusNotFound, "Allocation "+r.PathValue("id")+" could not be found.")
		return
	}
	reply(w, http.StatusOK, a.json())
}

// deleteAllocation frees a node, unless something is deployed on it.
func (s *Server) deleteAllocation(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.allocation(r.PathValue("id"))
	if a == nil {
		ironicError(w, http.StatusNotFound, "Allocation "+r.PathValue("id")+" could not be found.")
		return
	}
	if n := s.node(a.Node); n != nil {
		if slices.Contains([]string{"active", "deploying", "deploy failed", "deleting"}, n.State) {
			ironicError(w, http.StatusConflict, fmt.Sprintf("Cannot remove allocation %s for node %s, because the node is in state %s.", a.ID, n.ID, n.State))
			return
		}
		n.Instance, n.Allocation = "", "" // what instance_info says, stays
	}
	delete(s.st.Allocations, a.ID)
	s.keep()
	w.WriteHeader(http.StatusNoContent)
}
