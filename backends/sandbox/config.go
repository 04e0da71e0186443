package sandbox

import (
	"cmp"
	"context"
	"net"
	"runtime"
	"strconv"
	"time"
)

// Names of what the sandbox holds from the beginning.
const (
	Image         = "sandbox"
	Network       = "sandbox"
	User          = "sandbox"
	Zone          = "nova"
	ResourceClass = "baremetal"
	Region        = "sandbox"
)

// A Flavor is a size of server.
type Flavor struct {
	ID    string
	Name  string
	VCPUs int
	RAM   int // MiB
	Disk  int // GiB
}

// flavors of the sandbox. RAM and disk are counted for quota only; nothing enforces them.
var flavors = []Flavor{
	{ID: "1", Name: "sandbox.small", VCPUs: 1, RAM: 512, Disk: 1},
	{ID: "2", Name: "sandbox.medium", VCPUs: 2, RAM: 1024, Disk: 1},
	{ID: "3", Name: "sandbox.impossible", VCPUs: 4096, RAM: 512, Disk: 1}, // fits no host
	{ID: metalID, Name: "sandbox.metal", VCPUs: 16, RAM: 16384, Disk: 1},  // takes a whole host
}

// A Quota is what the project may have at once. Of the fields from KeyPairs on, 0 is Nova's default.
type Quota struct {
	Instances    int
	Cores        int
	RAM          int // MiB
	KeyPairs     int // 0: 100
	ServerGroups int // 0: 10
	GroupMembers int // servers in a server group; 0: 10

	Neutron map[string]int // by Neutron's names, such as "floatingip"; what is not there has no limit
}

// full reports whether there are as many as a quota allows, or as Nova does by default.
func full(there, quota, byDefault int) bool { return there >= cmp.Or(quota, byDefault) }

// Nova's defaults.
const (
	maxKeyPairs     = 100
	maxServerGroups = 10
	maxGroupMembers = 10
	maxMetadata     = 128
)

// Config says what a sandbox is like. Only State is needed.
type Config struct {
	// State is the folder that everything is kept in. One Server at a time may use it.
	State string

	// Listener is where the APIs are served; nil: a free port of 127.0.0.1.
	Listener net.Listener

	// Listen opens the SSH server of a machine; nil: TCP. Addresses are in 127.0.0.0/8, of
	// which Linux lets anybody bind any.
	Listen func(addr string) (net.Listener, error)

	// Dial opens the connections that machines forward for who is logged in; nil: TCP.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	// Port is the SSH port of all machines; 0: one that is free.
	Port int

	// Region is what the catalog calls this sandbox; empty: "sandbox".
	Region string

	// Keystone is another sandbox whose logins are good here and whose catalog has this one as a
	// further region; nil: its own. It is closed later than this one.
	Keystone *Server

	// Keep keeps address and credentials of the APIs in the state as well, as long as anything is
	// in it: files with them (CloudsYAML) stay true when the program has died and is started again.
	Keep bool

	Hosts       int // hosts of Nova, and nodes of Ironic; 0: 2
	Floating    int // addresses of the external network; 0: 250
	CPUsPerHost int // cores of this computer that a host owns; 0: they are shared out, at least 1

	BuildTime  time.Duration // from the request to ACTIVE
	DeleteTime time.Duration // from the request to gone, and of cleaning a node
	Latency    time.Duration // of every API request
	TokenLife  time.Duration // 0: one hour

	Quota  Quota   // zero fields: 64 instances, 512 cores, 512 GiB
	Faults *Faults // nil: none
	Kube   KubeConfig
	Log    func(format string, args ...any)
}

// overcommit is how many vCPUs a host takes for each of its cores: Nova's cpu_allocation_ratio,
// 16.0 as it was by default until 2022.
const overcommit = 16

func (c *Config) fill() {
	set := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	set(&c.Hosts, 2)
	c.Kube.fill()
	set(&c.CPUsPerHost, max(1, runtime.NumCPU()/c.Hosts))
	set(&c.Floating, 250)
	set(&c.Quota.Instances, 64)
	set(&c.Quota.Cores, 512)
	set(&c.Quota.RAM, 512<<10)
	if c.Region == "" {
		c.Region = Region
	}
	if c.TokenLife == 0 {
		c.TokenLife = time.Hour
	}
	if c.Faults == nil {
		c.Faults = &Faults{}
	}
	if c.Log == nil {
		c.Log = func(string, ...any) {}
	}
	if c.Listen == nil {
		c.Listen = listen
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
}

// hostName names host i as Nova and Ironic show it.
func hostName(i int) string { return "host" + strconv.Itoa(i+1) }
