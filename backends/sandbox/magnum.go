package sandbox

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// template is one of Magnum's cluster templates.
type template struct {
	ID      string            `json:"id"`
	Name    string            `json:"name"`
	Flavor  string            `json:"flavor"`
	Image   string            `json:"image"`
	Keypair string            `json:"keypair,omitempty"`
	Server  string            `json:"server"` // vm or bm
	Labels  map[string]string `json:"labels,omitempty"`
	Public  bool              `json:"public"`
	Created time.Time         `json:"created"`
}

// templates that are there from the start: of VMs, and of whole hosts.
var templates = []*template{
	{ID: "5a6e6462-6f78-4000-8002-000000000001", Name: "sandbox", Flavor: "2", Image: imageID, Server: "vm", Public: true, Created: time.Unix(1521417600, 0)},
	{ID: "5a6e6462-6f78-4000-8002-000000000002", Name: "sandbox-metal", Flavor: metalID, Image: imageID, Server: "bm", Public: true, Created: time.Unix(1521417600, 0)},
}

// magnum serves cluster templates, clusters and certificates. Node groups, upgrades and changes
// of size are refused.
func (s *Server) magnum() {
	version := map[string]any{"id": "v1", "status": "CURRENT", "max_version": "1.11", "min_version": "1.1"}
	s.root("/container-infra", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]any{"name": "OpenStack Magnum API", "versions": []any{version}})
	})
	s.root("/container-infra/v1", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]any{"id": "v1"})
	})
	s.infra("GET /clustertemplates", s.listTemplates)
	s.infra("GET /clustertemplates/detail", s.listTemplates)
	s.infra("POST /clustertemplates", s.createTemplate)
	s.infra("GET /clustertemplates/{id}", s.showTemplate)
	s.infra("DELETE /clustertemplates/{id}", s.deleteTemplate)
	s.infra("GET /clusters", s.listClusters)
	s.infra("GET /clusters/detail", s.listClusters)
	s.infra("POST /clusters", s.createCluster)
	s.infra("GET /clusters/{id}", s.showCluster)
	s.infra("DELETE /clusters/{id}", s.deleteCluster)
	s.infra("GET /certificates/{id}", s.showCA)
	s.infra("POST /certificates", s.signCertificate)
	s.infra("GET /quotas/{project}/Cluster", func(w http.ResponseWriter, r *http.Request) {
		reply(w, http.StatusOK, map[string]any{"project_id": r.PathValue("project"), "resource": "Cluster", "hard_limit": maxClusters})
	})
}

// infra routes a request of Magnum, with the token checked.
func (s *Server) infra(pattern string, h http.HandlerFunc) {
	method, p, _ := strings.Cut(pattern, " ")
	s.mux.HandleFunc(method+" /container-infra/v1"+p, s.auth(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("OpenStack-API-Version", "container-infra 1.11")
		w.Header().Set("x-openstack-request-id", "req-"+randomID())
		h(w, r)
	}))
}

// magnumError answers as Magnum does.
func magnumError(w http.ResponseWriter, status int, format string, a ...any) {
	text := fmt.Sprintf(format, a...)
	title, _, _ := strings.Cut(text, ".")
	reply(w, status, map[string]any{"errors": []any{map[string]any{"request_id": "", "code": "client", "status": status, "title": title, "detail": text, "links": []any{}}}})
}

// template finds one by ID or name. The caller holds s.mu.
func (s *Server) template(id string) *template {
	for _, t := range append(slices.Clone(templates), slices.Collect(maps.Values(s.st.Templates))...) {
		if t.ID == id || t.Name == id {
			return t
		}
	}
	return nil
}

func (t *template) json(base string) map[string]any {
	return map[string]any{"uuid": t.ID, "name": t.Name, "coe": "kubernetes", "flavor_id": flavorBy(t.Flavor).Name, "master_flavor_id": flavorBy("1").Name, "image_id": t.Image,
		"keypair_id": orNull(t.Keypair), "server_type": t.Server, "public": t.Public, "labels": nonNil(t.Labels), "network_driver": "calico", "volume_driver": nil,
		"tls_disabled": false, "registry_enabled": false, "floating_ip_enabled": false, "master_lb_enabled": false, "cluster_distro": "fedora-coreos", "hidden": false,
		"fixed_network": Network, "fixed_subnet": nil, "external_network_id": networkID, "project_id": projectID, "user_id": userID,
		"created_at": t.Created.UTC().Format(time.RFC3339), "updated_at": nil,
		"links": []any{map[string]any{"rel": "self", "href": base + "/container-infra/v1/clustertemplates/" + t.ID}}}
}

func orNull(v string) any {
	if v == "" {
		return nil
	}
	return v
}

func nonNil(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func (s *Server) listTemplates(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []any{}
	for _, t := range templates {
		list = append(list, t.json(s.base))
	}
	for _, id := range slices.Sorted(maps.Keys(s.st.Templates)) {
		list = append(list, s.st.Templates[id].json(s.base))
	}
	reply(w, http.StatusOK, map[string]any{"clustertemplates": list})
}

func (s *Server) showTemplate(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.template(r.PathValue("id"))
	if t == nil {
		magnumError(w, http.StatusNotFound, "ClusterTemplate %s could not be found.", r.PathValue("id"))
		return
	}
	reply(w, http.StatusOK, t.json(s.base))
}

func (s *Server) createTemplate(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Name       string            `json:"name"`
		COE        string            `json:"coe"`
		ImageID    string            `json:"image_id"`
		FlavorID   string            `json:"flavor_id"`
		KeyPairID  string            `json:"keypair_id"`
		ServerType string            `json:"server_type"`
		Labels     map[string]string `json:"labels"`
		Public     bool              `json:"public"`
	}
	if err := read(r, &in); err != nil {
		magnumError(w, http.StatusBadRequest, "%s", err)
		return
	}
	f := flavorNamed(in.FlavorID)
	switch {
	case in.COE != "kubernetes":
		magnumError(w, http.StatusBadRequest, "Requested COE type %s is not supported.", in.COE)
		return
	case in.ImageID != imageID && in.ImageID != Image:
		magnumError(w, http.StatusNotFound, "Unable to find image %s.", in.ImageID)
		return
	case f == nil:
		magnumError(w, http.StatusNotFound, "Unable to find flavor %s.", in.FlavorID)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &template{ID: randomID(), Name: in.Name, Flavor: f.ID, Image: imageID, Keypair: in.KeyPairID, Server: in.ServerType, Labels: in.Labels, Public: in.Public, Created: time.Now()}
	if t.Server == "" {
		t.Server = "vm"
	}
	s.st.Templates[t.ID] = t
	s.save()
	reply(w, http.StatusCreated, t.json(s.base))
}

// flavorNamed finds a flavor by ID or name.
func flavorNamed(id string) *Flavor {
	for i := range flavors {
		if flavors[i].ID == id || flavors[i].Name == id {
			return &flavors[i]
		}
	}
	return nil
}

func (s *Server) deleteTemplate(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.template(r.PathValue("id"))
	if t == nil {
		magnumError(w, http.StatusNotFound, "ClusterTemplate %s could not be found.", r.PathValue("id"))
		return
	}
	for _, c := range s.st.Clusters {
		if c.Template == t.ID {
			magnumError(w, http.StatusBadRequest, "ClusterTemplate %s is referenced by one or multiple clusters.", t.ID)
			return
		}
	}
	if s.st.Templates[t.ID] == nil {
		magnumError(w, http.StatusForbidden, "the sandbox keeps the template %s", t.Name)
		return
	}
	delete(s.st.Templates, t.ID)
	s.save()
	w.WriteHeader(http.StatusNoContent)
}

// clusterRequest is what a cluster may be asked for with. What the sandbox does not do is taken
// and has no effect where a real cluster would be the same for its user (networks, masters), and
// refused elsewhere.
type clusterRequest struct {
	Name        string            `json:"name"`
	Template    string            `json:"cluster_template_id"`
	NodeCount   *int              `json:"node_count"`
	MasterCount *int              `json:"master_count"`
	Keypair     string            `json:"keypair"`
	Flavor      string            `json:"flavor_id"`
	Labels      map[string]string `json:"labels"`
	MergeLabels bool              `json:"merge_labels"`
	Timeout     *int              `json:"create_timeout"`
	Docker      json.RawMessage   `json:"docker_volume_size"`
}
