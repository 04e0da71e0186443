package sandbox

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// metalID is the flavor of a server that takes a whole host. In a real cloud the host would be a
// node of Ironic; here it is one of Nova's hosts that nothing else is put on.
const metalID = "4"

// maxClusters is Magnum's default quota of a project.
const maxClusters = 20

// cluster is one of Magnum's.
type cluster struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	Template string            `json:"template"`
	Flavor   string            `json:"flavor"`
	Keypair  string            `json:"keypair,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	Masters  int               `json:"masters"`
	Timeout  int               `json:"timeout"` // minutes
	Status   string            `json:"status"`
	Reason   string            `json:"reason,omitempty"`
	Faults   map[string]string `json:"faults,omitempty"`
	Stack    string            `json:"stack"`
	Servers  []string          `json:"servers"`
	CA       string            `json:"ca"`
	CAKey    string            `json:"caKey"`
	Address  string            `json:"address,omitempty"`
	Port     int               `json:"port,omitempty"`
	Apart    bool              `json:"apart,omitempty"` // somebody else keeps it: no project sees it
	Created  time.Time         `json:"created"`
	Updated  time.Time         `json:"updated"`
}

// nodeName names node i, as Heat names servers of a cluster.
func (c *cluster) nodeName(i int) string {
	return fmt.Sprintf("%s-%s-node-%d", strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(c.Name)), strings.ReplaceAll(c.Stack, "-", "")[:12], i)
}

// takes is how many vCPUs of a host a server of a flavor takes.
func (s *Server) takes(f *Flavor) int {
	if f.ID == metalID {
		return s.cfg.CPUsPerHost * overcommit
	}
	return f.VCPUs
}

// clusterBy finds one by ID or name. The caller holds s.mu.
func (s *Server) clusterBy(id string) *cluster {
	if c := s.st.Clusters[id]; c != nil {
		return c
	}
	for _, c := range s.st.Clusters {
		if c.Name == id {
			return c
		}
	}
	return nil
}

// newCluster makes a cluster that stands apart and its servers, which are not up yet. The caller
// holds s.mu.
func (s *Server) newCluster(name string, t *template, count int) (*cluster, error) {
	now := time.Now()
	c := &cluster{ID: randomID(), Name: name, Template: t.ID, Flavor: t.Flavor, Masters: 1, Timeout: 60, Status: "CREATE_IN_PROGRESS", Stack: randomID(), Apart: true, Created: now, Updated: now}
	var err error
	if c.CA, c.CAKey, err = newCA(name); err != nil {
		return nil, err
	}
	s.st.Clusters[c.ID] = c
	return c, s.addServers(c, count)
}

// addServers makes the servers of a cluster's nodes. The caller holds s.mu.
func (s *Server) addServers(c *cluster, count int) error {
	f := flavorBy(c.Flavor)
	for i := range count {
		now := time.Now()
		v := &server{ID: randomID(), Name: c.nodeName(i), Flavor: f.ID, Zone: Zone, KeyName: c.Keypair, Apart: c.Apart, Status: "BUILD", Task: "scheduling", Created: now, Updated: now, Ready: now.Add(s.cfg.BuildTime),
			Metadata: map[string]string{"magnum:cluster_uuid": c.ID, "metering.stack": c.Stack}}
		if k := s.st.Keypairs[c.Keypair]; k != nil {
			v.PublicKey = k.PublicKey
		}
		why := ""
		if !c.Apart {
			why = s.overQuota(f)
		}
		s.st.Servers[v.ID] = v
		c.Servers = append(c.Servers, v.ID)
		switch {
		case why != "":
			s.fail(v, http.StatusForbidden, why)
		case !s.placeNode(v, c):
			s.fail(v, http.StatusInternalServerError, "No valid host was found. There are not enough hosts available.")
		default:
			continue
		}
		return fmt.Errorf("%s: %s", v.Name, v.Fault.Message)
	}
	return nil
}

// placeNode puts a cluster's server on the host with the fewest of that cluster, of those the one
// with the least in use. The caller holds s.mu.
func (s *Server) placeNode(v *server, c *cluster) bool {
	used, same := make([]int, s.cfg.Hosts), make([]int, s.cfg.Hosts)
	for _, o := range s.st.Servers {
		if !o.Placed || o.Host >= len(used) {
			continue
		}
		if !o.Apart {
			used[o.Host] += s.takes(flavorBy(o.Flavor))
		}
		if slices.Contains(c.Servers, o.ID) {
			same[o.Host]++
		}
	}
	f := flavorBy(v.Flavor)
	best := -1
	for h := range used {
		if used[h]+s.takes(f) > s.cfg.CPUsPerHost*overcommit {
			continue
		}
		if best < 0 || cmp.Or(cmp.Compare(same[h], same[best]), cmp.Compare(used[h], used[best])) < 0 {
			best = h
		}
	}
	if best < 0 {
		return false
	}
	v.Host, v.Placed, v.Task = best, true, "spawning"
	return true
}

// clusterPoll is how soon a cluster looks again at how its servers are.
const clusterPoll = 100 * time.Millisecond

// watchCluster ends the making of a cluster once all its servers are up, or one is not to be.
func (s *Server) watchCluster(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.st.Clusters[id]
	if c == nil || c.Status != "CREATE_IN_PROGRESS" {
		return
	}
	up, bad := 0, ""
	for i, v := range c.Servers {
		o := s.st.Servers[v]
		switch {
		case o == nil:
			bad = "ResourceInError: resources.kube_minions: the server was deleted"
		case o.Status == "ACTIVE":
			up++
		case o.Status == "ERROR":
			bad = fmt.Sprintf("ResourceInError: resources.kube_minions.resources[%d].resources.kube-minion: Went to status ERROR due to %q", i, fmt.Sprintf("Message: %s, Code: %d", o.Fault.Message, o.Fault.Code))
		}
		if bad != "" {
			s.failCluster(c, bad, map[string]string{"kube_minions": bad})
			return
		}
	}
	if up < len(c.Servers) {
		if c.Timeout > 0 && time.Since(c.Created) > time.Duration(c.Timeout)*time.Minute {
			s.failCluster(c, "Timed out", map[string]string{"kube_minions": "CREATE aborted (Task create from ResourceGroup \"kube_minions\" Stack timed out)"})
			return
		}
		s.later("cluster "+id, clusterPoll, func() { s.watchCluster(id) })
		return
	}
	if err := s.complete(c); err != nil {
		s.failCluster(c, err.Error(), nil)
	}
	s.save()
}

func (s *Server) failCluster(c *cluster, reason string, faults map[string]string) {
	c.Status, c.Reason, c.Faults, c.Updated = "CREATE_FAILED", reason, faults, time.Now()
	s.save()
}
