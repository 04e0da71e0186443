package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
)

// state is all that survives the program. It is written as a whole after every change.
type state struct {
	Port         int                     `json:"port"`
	Next         int                     `json:"next"`          // of addresses
	API          *endpoint               `json:"api,omitempty"` // with Config.Keep
	Servers      map[string]*server      `json:"servers,omitempty"`
	Keypairs     map[string]*keypair     `json:"keypairs,omitempty"`
	Nodes        map[string]*node        `json:"nodes,omitempty"` // only those that are not as they were born
	ServerGroups map[string]*serverGroup `json:"serverGroups,omitempty"`
	Nets         map[string]*netObject   `json:"nets,omitempty"` // of Neutron, but for those that are there from the start
	Allocations  map[string]*allocation  `json:"allocations,omitempty"`
	Clusters     map[string]*cluster     `json:"clusters,omitempty"`
	Templates    map[string]*template    `json:"templates,omitempty"` // but for those that are there from the start
	Cgroups      *cgroups                `json:"cgroups,omitempty"`   // nil: no machine has one yet
}

// server is one of Nova's.
type server struct {
	ID        string            `json:"id"`
	Name      string            `json:"name"`
	Flavor    string            `json:"flavor"`
	Zone      string            `json:"zone,omitempty"`
	KeyName   string            `json:"keyName,omitempty"`
	PublicKey string            `json:"publicKey,omitempty"`
	UserData  []byte            `json:"userData,omitempty"`
	Tags      []string          `json:"tags,omitempty"`
	Metadata  map[string]string `json:"metadata,omitempty"`
	Status    string            `json:"status"`          // BUILD, ACTIVE, ERROR
	Apart     bool              `json:"apart,omitempty"` // of a cluster that somebody else keeps: no project sees it, and it takes no place
	Task      string            `json:"task,omitempty"`
	Fault     *fault            `json:"fault,omitempty"`
	Group     string            `json:"group,omitempty"`   // of servers
	Network   string            `json:"network,omitempty"` // empty: the cloud's
	Groups    []string          `json:"groups,omitempty"`  // security groups; none: the default one
	Host      int               `json:"host"`
	Placed    bool              `json:"placed"`
	Address   string            `json:"address,omitempty"`
	CPUs      []int             `json:"cpus,omitempty"`
	Created   time.Time         `json:"created"`
	Updated   time.Time         `json:"updated"`
	Ready     time.Time         `json:"ready"` // when it will be up
}

// fault is why a server is in ERROR.
type fault struct {
	Code    int       `json:"code"`
	Message string    `json:"message"`
	Created time.Time `json:"created"`
}

// endpoint is where the APIs are and what Keystone accepts.
type endpoint struct {
	Address   string `json:"address"`
	Password  string `json:"password"`
	AppID     string `json:"appID"`
	AppSecret string `json:"appSecret"`
}

// keypair is a public key with a name.
type keypair struct {
	Name        string `json:"name"`
	PublicKey   string `json:"public_key"`
	Fingerprint string `json:"fingerprint"`
	Type        string `json:"type"`
}

const stateFile = "state.json"

// machinesFolder holds one folder for each machine: its home.
const machinesFolder = "machines"

// loadState reads the state that an earlier process left, and removes what its last write left if it was
// killed in it: renameio writes beside the file, under a name with a dot before and a number after.
func loadState(dir string) (*state, error) {
	st := &state{}
	torn, err := filepath.Glob(filepath.Join(dir, "."+stateFile+"*"))
	if err != nil {
		return nil, err
	}
	for _, t := range torn {
		if err := os.Remove(t); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	file := filepath.Join(dir, stateFile)
	b, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		if err := json.Unmarshal(b, st); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	st.fill()
	return st, nil
}

func (st *state) fill() {
	if st.Servers == nil {
		st.Servers = map[string]*server{}
	}
	if st.Keypairs == nil {
		st.Keypairs = map[string]*keypair{}
	}
	if st.Nodes == nil {
		st.Nodes = map[string]*node{}
	}
	if st.ServerGroups == nil {
		st.ServerGroups = map[string]*serverGroup{}
	}
	if st.Clusters == nil {
		st.Clusters = map[string]*cluster{}
	}
	if st.Templates == nil {
		st.Templates = map[string]*template{}
	}
	if st.Nets == nil {
		st.Nets = map[string]*netObject{}
	}
	if st.Allocations == nil {
		st.Allocations = map[string]*allocation{}
	}
}

func (st *state) empty() bool {
	return len(st.Servers)+len(st.ServerGroups)+len(st.Keypairs)+len(st.Nodes)+len(st.Allocations)+len(st.Clusters)+len(st.Templates)+len(st.Nets) == 0
}

// save writes the state, or removes the file when nothing is left. The caller holds s.mu. A
// state that cannot be written is logged and kept in memory: the API has no answer for it.
func (s *Server) save() {
	file := filepath.Join(s.cfg.State, stateFile)
	if s.st.empty() {
		_ = os.Remove(file)
		_ = os.Remove(filepath.Join(s.cfg.State, machinesFolder))
		_ = os.Remove(filepath.Join(s.cfg.State, clustersFolder))
		return
	}
	b, err := json.MarshalIndent(s.st, "", "\t")
	if err == nil {
		// Private: user data holds host keys.
		err = renameio.WriteFile(file, b, 0o600)
	}
	if err != nil {
		s.cfg.Log("sandbox: save: %v", err)
	}
}

func (s *Server) home(id string) string {
	return filepath.Join(s.cfg.State, machinesFolder, id)
}
