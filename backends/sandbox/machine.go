package sandbox

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/crypto/ssh"
)

// machine is the inside of a server or node: a folder, an SSH server, and the processes that
// carry its mark.
type machine struct {
	id   string
	name string
	home string
	cpus []int
	cage *cage // nil: affinity alone holds it to its cores

	config   *ssh.ServerConfig
	listener net.Listener
	dial     func(ctx context.Context, network, addr string) (net.Conn, error) // for what is forwarded

	mu    sync.Mutex
	conns map[net.Conn]bool
	done  bool
	work  *sync.WaitGroup
	log   func(string, ...any)
}

// open brings a machine up at an address: its home, its keys, its SSH server. The caller holds s.mu.
func (s *Server) open(id, name, address, publicKey string, userData []byte, cpus []int) error {
	m := &machine{id: id, name: name, home: s.home(id), cpus: cpus, dial: s.cfg.Dial, conns: map[net.Conn]bool{}, work: &s.work, log: s.cfg.Log}
	if err := os.MkdirAll(m.home, 0o700); err != nil {
		return err
	}
	c, err := readCloudConfig(userData)
	if err != nil {
		s.cfg.Log("sandbox: %s: %v", name, err)
		c = &cloudConfig{}
	}
	if len(c.HostKeys) == 0 {
		// cloud-init makes keys of its own where none are given.
		_, k, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return err
		}
		signer, err := ssh.NewSignerFromKey(k)
		if err != nil {
			return err
		}
		c.HostKeys = append(c.HostKeys, signer)
	}
	m.config = serverConfig(c.HostKeys, append(c.Authorized, publicKey))
	if s.st.Port == 0 {
		s.st.Port = s.choosePort()
	}
	m.listener, err = s.cfg.Listen(net.JoinHostPort(address, strconv.Itoa(s.st.Port)))
	if err != nil {
		return fmt.Errorf("machine %s: %w", name, err)
	}
	m.cage = s.cage(id, cpus)
	s.machines[id] = m
	s.work.Go(m.serve)
	return nil
}

func inUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }

// close ends the SSH server and its connections; processes stay.
func (m *machine) close() {
	m.mu.Lock()
	m.done = true
	conns := m.conns
	m.conns = map[net.Conn]bool{}
	m.mu.Unlock()
	_ = m.listener.Close()
	for c := range conns {
		_ = c.Close()
	}
}

// destroy ends a machine with everything that runs on it, and removes its folder.
func (s *Server) destroy(id string) {
	s.mu.Lock()
	m := s.machines[id]
	delete(s.machines, id)
	s.mu.Unlock()
	if m != nil {
		m.close()
	}
	s.uncage(id)
	if err := killMachine(s.home(id)); err != nil {
		s.cfg.Log("sandbox: %s: %v", id, err)
	}
	// What was killed may just have made a file: the second try finds none that could.
	if err := os.RemoveAll(s.home(id)); err != nil {
		err = os.RemoveAll(s.home(id))
		if err != nil {
			s.cfg.Log("sandbox: %s: %v", id, err)
		}
	}
}

// limit says what holds a machine to its cores; empty: it is not up. The caller holds s.mu.
func (s *Server) limit(id string) string {
	switch m := s.machines[id]; {
	case m == nil:
		return ""
	case m.cage != nil:
		return m.cage.limit
	case pinnedBy == "nothing":
		return pinnedBy
	default:
		return "affinity"
	}
}

// DropConnections breaks every SSH connection of every machine, as a network that fails does.
func (s *Server) DropConnections() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.machines {
		m.drop()
	}
}

func (m *machine) drop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.conns {
		_ = c.Close()
	}
}

// Processes lists the processes that run on the machines of this sandbox's state folder.
func (s *Server) Processes() []int { return processesBelow(s.cfg.State) }

// cpusOf gives the cores of this computer that a machine with n vCPUs on a host may use: the
// host's own, as many as it has at most. Hosts share cores where there are not enough.
func (s *Server) cpusOf(host, n int) []int {
	all := allowedCPUs()
	var out []int
	for i := range min(n, s.cfg.CPUsPerHost, len(all)) {
		out = append(out, all[(host*s.cfg.CPUsPerHost+i)%len(all)])
	}
	return out
}
