package sandbox

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"k8s.io/utils/ptr"
)

// clusterName is what Magnum takes as one.
var clusterName = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_.-]*$`)

func (s *Server) createCluster(w http.ResponseWriter, r *http.Request) {
	var q clusterRequest
	if err := read(r, &q); err != nil {
		magnumError(w, http.StatusBadRequest, "%s", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.template(q.Template)
	f := flavorNamed(q.Flavor)
	switch {
	case t == nil:
		magnumError(w, http.StatusNotFound, "ClusterTemplate %s could not be found.", q.Template)
		return
	case !clusterName.MatchString(q.Name):
		magnumError(w, http.StatusBadRequest, "Invalid input for field/attribute name. Value: '%s'. Value should match pattern %s", q.Name, clusterName)
		return
	case q.Flavor != "" && f == nil:
		magnumError(w, http.StatusNotFound, "Unable to find flavor %s.", q.Flavor)
		return
	case ptr.Deref(q.NodeCount, 1) < 1 || ptr.Deref(q.MasterCount, 1) < 1:
		magnumError(w, http.StatusBadRequest, "Invalid input for field/attribute node_count. Value: '%d'. Value should be greater or equal to 1", ptr.Deref(q.NodeCount, 1))
		return
	case s.clusterBy(q.Name) != nil:
		magnumError(w, http.StatusConflict, "A cluster with name %s already exists.", q.Name)
		return
	case len(s.ownClusters()) >= maxClusters:
		magnumError(w, http.StatusForbidden, "You have reached the maximum clusters per project, %d. You may delete a cluster to make room for a new one.", maxClusters)
		return
	}
	key := q.Keypair
	if key == "" {
		key = t.Keypair
	}
	if key != "" && s.st.Keypairs[key] == nil {
		magnumError(w, http.StatusNotFound, "Unable to find keypair %s.", key)
		return
	}
	now := time.Now()
	c := &cluster{ID: randomID(), Name: q.Name, Template: t.ID, Flavor: t.Flavor, Keypair: key, Labels: q.Labels, Masters: ptr.Deref(q.MasterCount, 1),
		Timeout: ptr.Deref(q.Timeout, 60), Status: "CREATE_IN_PROGRESS", Stack: randomID(), Created: now, Updated: now}
	if f != nil {
		c.Flavor = f.ID
	}
	if q.Labels == nil || q.MergeLabels {
		c.Labels = maps.Clone(nonNil(t.Labels))
		maps.Copy(c.Labels, q.Labels)
	}
	var err error
	if c.CA, c.CAKey, err = newCA(c.Name); err != nil {
		magnumError(w, http.StatusInternalServerError, "%s", err)
		return
	}
	s.st.Clusters[c.ID] = c
	if s.addServers(c, ptr.Deref(q.NodeCount, 1)) == nil {
		for _, id := range c.Servers {
			s.later("boot "+id, s.cfg.BuildTime, func() { s.boot(id) })
		}
	}
	s.later("cluster "+c.ID, s.cfg.BuildTime, func() { s.watchCluster(c.ID) })
	s.save()
	reply(w, http.StatusAccepted, map[string]any{"uuid": c.ID})
}

// json is a cluster as Magnum shows it. The caller holds s.mu.
func (s *Server) clusterJSON(c *cluster, detail bool) map[string]any {
	out := map[string]any{"uuid": c.ID, "name": c.Name, "status": c.Status, "cluster_template_id": c.Template, "keypair": orNull(c.Keypair), "node_count": len(c.Servers),
		"master_count": c.Masters, "stack_id": c.Stack, "create_timeout": c.Timeout, "flavor_id": flavorBy(c.Flavor).Name, "master_flavor_id": flavorBy("1").Name,
		"labels": nonNil(c.Labels), "docker_volume_size": nil, "health_status": nil,
		"links": []any{map[string]any{"rel": "self", "href": s.base + "/container-infra/v1/clusters/" + c.ID}}}
	if !detail {
		return out
	}
	nodes, api := []string{}, any(nil)
	masters := []string{}
	for _, id := range c.Servers {
		if v := s.st.Servers[id]; v != nil && v.Address != "" {
			nodes = append(nodes, v.Address)
		}
	}
	if k := s.kubes[c.ID]; k != nil {
		api, masters = k.base, []string{c.Address}
		out["health_status"], out["health_status_reason"] = "HEALTHY", map[string]any{"api": "ok"}
	}
	maps.Copy(out, map[string]any{"status_reason": orNull(c.Reason), "faults": nonNil(c.Faults), "api_address": api, "node_addresses": nodes, "master_addresses": masters,
		"coe_version": kubeVersion, "container_version": "1", "discovery_url": nil, "project_id": projectID, "user_id": userID, "fixed_network": Network, "fixed_subnet": nil,
		"floating_ip_enabled": false, "master_lb_enabled": false, "created_at": c.Created.UTC().Format(time.RFC3339), "updated_at": c.Updated.UTC().Format(time.RFC3339)})
	return out
}

// ownClusters are those of the project, the oldest first. The caller holds s.mu.
func (s *Server) ownClusters() []*cluster {
	list := slices.DeleteFunc(slices.Collect(maps.Values(s.st.Clusters)), func(c *cluster) bool { return c.Apart })
	slices.SortFunc(list, func(a, b *cluster) int { return a.Created.Compare(b.Created) })
	return list
}

func (s *Server) listClusters(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []any{}
	for _, c := range s.ownClusters() {
		list = append(list, s.clusterJSON(c, strings.HasSuffix(r.URL.Path, "/detail")))
	}
	reply(w, http.StatusOK, map[string]any{"clusters": list})
}

func (s *Server) showCluster(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clusterBy(r.PathValue("id"))
	if c == nil {
		magnumError(w, http.StatusNotFound, "Cluster %s could not be found.", r.PathValue("id"))
		return
	}
	reply(w, http.StatusOK, s.clusterJSON(c, true))
}

func (s *Server) deleteCluster(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clusterBy(r.PathValue("id"))
	if c == nil {
		magnumError(w, http.StatusNotFound, "Cluster %s could not be found.", r.PathValue("id"))
		return
	}
	if c.Status != "DELETE_IN_PROGRESS" {
		c.Status, c.Reason, c.Updated = "DELETE_IN_PROGRESS", "", time.Now()
		for _, name := range append([]string{"cluster " + c.ID}, bootsOf(c)...) {
			if t := s.timers[name]; t != nil {
				t.Stop()
				delete(s.timers, name)
			}
		}
		s.later("cluster "+c.ID, s.cfg.DeleteTime, func() { s.removeCluster(c.ID) })
		s.save()
	}
	w.WriteHeader(http.StatusNoContent)
}

func bootsOf(c *cluster) []string {
	var out []string
	for _, id := range c.Servers {
		out = append(out, "boot "+id)
	}
	return out
}

// showCA is GET /certificates/{cluster}: the certificate of its authority.
func (s *Server) showCA(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clusterBy(r.PathValue("id"))
	if c == nil {
		magnumError(w, http.StatusNotFound, "Cluster %s could not be found.", r.PathValue("id"))
		return
	}
	reply(w, http.StatusOK, map[string]any{"cluster_uuid": c.ID, "bay_uuid": c.ID, "pem": c.CA, "links": []any{}})
}

// signCertificate is POST /certificates: it signs a request with the cluster's authority.
func (s *Server) signCertificate(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Cluster string `json:"cluster_uuid"`
		Bay     string `json:"bay_uuid"`
		CSR     string `json:"csr"`
	}
	if err := read(r, &in); err != nil {
		magnumError(w, http.StatusBadRequest, "%s", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := in.Cluster + in.Bay
	c := s.clusterBy(id)
	if c == nil {
		magnumError(w, http.StatusNotFound, "Cluster %s could not be found.", id)
		return
	}
	k := &kube{c: c}
	err := k.readCA()
	var cert string
	if err == nil {
		cert, err = k.signRequest(in.CSR)
	}
	if err != nil {
		magnumError(w, http.StatusBadRequest, "Received invalid CSR %s", err)
		return
	}
	reply(w, http.StatusCreated, map[string]any{"cluster_uuid": c.ID, "bay_uuid": c.ID, "csr": in.CSR, "pem": cert, "links": []any{}})
}
