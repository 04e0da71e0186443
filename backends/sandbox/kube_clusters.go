package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// KubeConfig says what the sandbox's Kubernetes clusters are like.
type KubeConfig struct {
	GPUs  int           // of each node, as nvidia.com/gpu: mere counters; 0: 2; negative: none
	Batch time.Duration // how long controllers gather changes before they act; a real Job controller takes a second

	// Pace is how far a virtual clock goes while processes of pods run, for each 10 ms of real
	// time. 0 is right for a real clock; a virtual one then stands still as long as a pod runs.
	Pace time.Duration

	// Plain starts pods without namespaces of their own, as where the kernel gives none.
	Plain bool
}

func (c *KubeConfig) fill() {
	if c.GPUs == 0 {
		c.GPUs = 2
	}
	c.GPUs = max(c.GPUs, 0)
}

// TryNamespaces says why pods get no namespaces of their own on this computer, and nil where they
// do. It needs an empty folder.
func TryNamespaces(dir string) error { return tryNamespaces(dir) }

// prepareKubes makes ready what clusters share.
func (s *Server) prepareKubes() {
	s.ends = &waiter{pace: s.cfg.Kube.Pace, waits: map[int]chan struct{}{}}
	s.boxes = sync.OnceValue(func() string {
		if s.cfg.Kube.Plain {
			return "switched off"
		}
		if err := tryNamespaces(filepath.Join(s.cfg.State, clustersFolder)); err != nil {
			s.cfg.Log("sandbox: pods get no namespaces of their own: %v", err)
			return err.Error()
		}
		return ""
	})
}

func (s *Server) waiter() *waiter { return s.ends }

// namespaces reports whether pods get namespaces of their own.
func (s *Server) namespaces() bool { return s.boxes() == "" }

// closeKubes lets clusters go; their containers stay.
func (s *Server) closeKubes(kubes map[string]*kube) {
	for _, k := range kubes {
		k.close()
	}
	if s.ends != nil {
		s.ends.close()
	}
}

// nodeGone tells clusters that a machine was destroyed.
func (s *Server) nodeGone(id string) {
	s.mu.Lock()
	var list []*kube
	for _, k := range s.kubes {
		list = append(list, k)
	}
	s.mu.Unlock()
	for _, k := range list {
		k.machineGone(id)
	}
}

// Cluster gives a kubeconfig for the administrator of a cluster with a name, which is made if
// there is none: nodes machines of flavor sandbox.medium, up at once. It stands for a cluster
// that somebody else keeps: neither it nor its machines are in the project's lists and quota, and
// they take no place on hosts. RemoveCluster removes it.
func (s *Server) Cluster(name string, nodes int) ([]byte, error) {
	return s.ClusterAs(name, nodes, "admin", masters)
}

// ClusterAs is Cluster with a kubeconfig of any user. Only members of system:masters may do
// anything.
func (s *Server) ClusterAs(name string, nodes int, user string, groups ...string) ([]byte, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, errors.New("sandbox: closed")
	}
	c := s.clusterBy(name)
	var err error
	if c == nil {
		c, err = s.newCluster(name, templates[0], nodes)
		if err == nil {
			err = s.bootCluster(c)
		}
		s.save()
	}
	if err != nil {
		s.mu.Unlock()
		if c != nil {
			s.removeCluster(c.ID)
		}
		return nil, fmt.Errorf("sandbox: cluster %s: %w", name, err)
	}
	defer s.mu.Unlock()
	k := s.kubes[c.ID]
	if k == nil {
		return nil, fmt.Errorf("sandbox: cluster %s is not up: %s %s", name, c.Status, c.Reason)
	}
	return k.kubeconfig(user, groups...)
}

// bootCluster brings a new cluster up without delay. The caller holds s.mu.
func (s *Server) bootCluster(c *cluster) error {
	for _, id := range c.Servers {
		v := s.st.Servers[id]
		v.CPUs = s.cpusOf(v.Host, flavorBy(v.Flavor).VCPUs)
		if err := s.give(v); err != nil {
			return err
		}
		v.Status, v.Task = "ACTIVE", ""
	}
	return s.complete(c)
}

// RemoveCluster removes a cluster with its machines, and returns when they are gone.
func (s *Server) RemoveCluster(name string) {
	s.mu.Lock()
	c := s.clusterBy(name)
	s.mu.Unlock()
	if c != nil {
		s.removeCluster(c.ID)
	}
}

// RemoveMachine ends a server with all that runs on it, as a host that burns.
func (s *Server) RemoveMachine(id string) { s.vanish(id) }

// DropKubernetes breaks every connection to every Kubernetes API, those of watches and exec
// included, as a network that fails does.
func (s *Server) DropKubernetes() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.kubes {
		k.listener.cut()
	}
}

// complete opens the API of a cluster whose machines are up. The caller holds s.mu.
func (s *Server) complete(c *cluster) error {
	hosts := s.hostsOf(c)
	k, err := s.openKube(c, hosts)
	if err != nil {
		return err
	}
	s.kubes[c.ID] = k
	c.Status, c.Reason, c.Updated = "CREATE_COMPLETE", "Stack CREATE completed successfully", time.Now()
	return nil
}

// hostsOf are the machines of a cluster as its nodes. The caller holds s.mu.
func (s *Server) hostsOf(c *cluster) []*host {
	var out []*host
	for i, id := range c.Servers {
		h := &host{Server: id, Name: c.nodeName(i), GPUs: s.cfg.Kube.GPUs}
		v := s.st.Servers[id]
		if v == nil {
			h.Lost = true
		} else {
			f := flavorBy(v.Flavor)
			h.Address, h.CPUs, h.VCPUs, h.RAM = v.Address, slices.Clone(v.CPUs), f.VCPUs, f.RAM
			if f.ID == metalID {
				h.VCPUs = s.cfg.CPUsPerHost
			}
		}
		out = append(out, h)
	}
	return out
}

// removeCluster ends a cluster: its API, its pods, its machines.
func (s *Server) removeCluster(id string) {
	s.mu.Lock()
	c, k := s.st.Clusters[id], s.kubes[id]
	delete(s.kubes, id)
	var list []string
	if c != nil {
		list = slices.Clone(c.Servers)
	}
	s.mu.Unlock()
	if k != nil {
		k.destroy()
	}
	for _, v := range list {
		s.vanish(v)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = os.RemoveAll(filepath.Join(s.cfg.State, clustersFolder, id))
	delete(s.st.Clusters, id)
	s.save()
}

// resumeClusters goes on with what clusters were doing. The caller holds s.mu.
func (s *Server) resumeClusters() error {
	for _, c := range s.st.Clusters {
		switch c.Status {
		case "CREATE_IN_PROGRESS":
			s.later("cluster "+c.ID, 0, func() { s.watchCluster(c.ID) })
		case "CREATE_COMPLETE":
			k, err := s.openKube(c, s.hostsOf(c))
			if err != nil {
				return err
			}
			s.kubes[c.ID] = k
		case "DELETE_IN_PROGRESS":
			s.later("cluster "+c.ID, 0, func() { s.removeCluster(c.ID) })
		}
	}
	return nil
}
