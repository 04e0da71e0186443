// Package backends is the contract between the executor and the places where trials run.
//
// An orchestration is a pair: where and how. A [Provider] makes and removes machines, a
// [Launcher] runs processes on them. A machine says how it is reached ([Machine.Access]), and
// that picks the launcher, so that providers and launchers do not know each other.
//
// The package is a leaf: the standard library only. All promises below are checked for every
// implementation by package backendtest.
package backends

import (
	"context"
	"encoding/json"
	"io"
	"time"
)

// An Owner says for whom a machine exists. Every object a provider makes is tagged with it.
type Owner struct {
	Run   string // the run's ID: letters, digits and '-', at most 32
	Fleet string // the fleet's name: a DNS label; empty in Owned and Release: all fleets of the run
}

// An Object is one thing that exists in a cloud because dlx asked for it.
type Object struct {
	Kind string `json:"kind"`         // "server", "keypair", "port", "node", ...
	Name string `json:"name"`         // the name dlx gave it, unique in its kind and run
	ID   string `json:"id,omitempty"` // the cloud's; empty until it answered
}

// A Ledger is told of every object before it is asked for and after it is seen gone, so that
// nothing can be made that nobody knows of. Its methods return when the note is durable; an
// error means that the object must not be asked for. Safe for concurrent use.
type Ledger interface {
	Intend(ctx context.Context, o Owner, obj Object) error
	Made(ctx context.Context, o Owner, obj Object) error
	Gone(ctx context.Context, o Owner, obj Object) error
}

// A FleetRequest asks for machines that are provisioned and released as one.
type FleetRequest struct {
	Owner    Owner
	Machines []MachineRequest
	Hosts    Hosts
	Until    time.Time // written onto each object: after this moment anybody may remove it
	Ledger   Ledger
}

// A MachineRequest asks for one machine.
type MachineRequest struct {
	Name string          // a DNS label, unique in its fleet
	Spec json.RawMessage // the provider's own description of a machine
}

// Hosts says how the machines of a fleet stand on physical hosts. A provider that cannot see to it
// refuses the request with class Config; [Machine.Host] is the proof.
type Hosts string

// Ways to stand on hosts.
const (
	AnyHosts       Hosts = ""          // as the cloud likes
	SameHost       Hosts = "same"      // all on one host
	DifferentHosts Hosts = "different" // no two on one host
)

// A Machine is a compute instance that is up and can be reached: a server, or a place on a node
// of a cluster.
type Machine struct {
	Name    string            // as requested
	ID      string            // the provider's
	Address string            // where other machines of the fleet reach it: IP or host name, no port
	Host    string            // what tells the physical host from others; "" if the provider does not say
	Access  Access            // how dlx reaches it
	Facts   map[string]string // what the provider says it is (flavor, image, ...), read back from the cloud
}

// Access says how processes are started on a machine. Exactly one field is set.
type Access struct {
	SSH        *SSH
	Kubernetes *Kubernetes
	Memory     *Memory
}

// Kind names the launcher that fits: "ssh", "kubernetes" or "memory".
func (a Access) Kind() string {
	switch {
	case a.SSH != nil:
		return "ssh"
	case a.Kubernetes != nil:
		return "kubernetes"
	case a.Memory != nil:
		return "memory"
	default:
		return ""
	}
}

// SSH is how to log in. It holds a private key: never print or store it.
type SSH struct {
	Addr    string // host:port
	User    string
	Key     []byte // private key, OpenSSH PEM; empty: those that the running ssh-agent holds (SSH_AUTH_SOCK)
	HostKey []byte // the machine's public key in authorized_keys form; connections to any other are refused
	Via     *SSH   // the jump host that the connection goes over, which all machines behind it share one to; nil: none
}

// Kubernetes is a place on a node of a cluster, where pods are put. Whoever made the cluster need
// not know Kubernetes: the launcher finds the node (see [Launcher.Prepare]). Config holds
// credentials: never print or store it.
type Kubernetes struct {
	Config    []byte          // a kubeconfig whose current context counts, credentials inline
	Namespace string          // where the objects of the run are; made if it is not there
	Owner     Owner           // labels all objects of the fleet
	Hosts     Hosts           // how the fleet's places stand on nodes
	Pod       json.RawMessage // what pods there are: the kubernetes backend's own description
	Node      string          // the node; empty until Prepare found it
	JobSet    bool            // the groups of a trial are one JobSet; Prepare finds out
}

// Memory is access to a machine of the memory backend.
type Memory struct{}

// A Provider makes machines.
//
// All methods may be called from many goroutines, stop early when ctx ends (returning its
// cause), and do not retry: the executor does, by the [Class] of the error. Errors carry the
// provider's own words and never a secret.
type Provider interface {
	// Provision makes the machines of a fleet, or returns those that an earlier call with the
	// same owner and names made, also one of a process that has died since. It returns when all
	// can be logged into, in the order asked for, or with an error as soon as one cannot become
	// so; machines made so far then stay until Release. A machine that fails to boot fails at
	// once, with the cloud's reason.
	Provision(ctx context.Context, req FleetRequest) ([]Machine, error)

	// Release removes everything that belongs to the owner and returns when all of it has been
	// seen gone, telling the ledger of each object. Nothing left, a second call, and a call
	// during another owner's Provision are no errors. It finds objects by their tags: it needs
	// no memory of having made them.
	Release(ctx context.Context, o Owner, l Ledger) error

	// Owned lists what exists for the owner now, sorted by kind and name.
	Owned(ctx context.Context, o Owner) ([]Object, error)
}

// An Exit is how a process ended. Times are of the machine's clock; Elapsed is measured on the
// machine around the process, never by polling.
type Exit struct {
	Code     int           `json:"code"`               // 128+n after signal n
	TimedOut bool          `json:"timedOut,omitempty"` // ended by its Timeout
	Stopped  bool          `json:"stopped,omitempty"`  // ended by Stop
	Started  time.Time     `json:"started"`
	Elapsed  time.Duration `json:"elapsedNs"`
}

// Files that every process leaves behind in its folder, beside its own.
const (
	Stdout = "stdout"
	Stderr = "stderr"
	Probe  = "probe" // "key=value" lines on what the machine is, seen from inside just before the start
)

// A File is a local file to be put onto machines.
type File struct {
	Name   string // base name on the machine
	Path   string // on this computer
	SHA256 string // hex; empty: computed
	Mode   uint32 // permission bits
}

// A Launcher runs processes on machines.
//
// Processes are detached: they outlive the connection and this program, and what they print is
// kept on their machine. All methods may be called from many goroutines, stop early when ctx
// ends, and survive a connection that is lost in the middle as long as the machine comes back
// within their own patience.
type Launcher interface {
	// Prepare readies the machines of a fleet, all at once, for the other methods, and returns
	// them with what it learnt of them (Host, Facts, Access). What an earlier call made, also one
	// of a process that has died since, is found again. It fails as Provision does. What it makes
	// goes with the fleet.
	Prepare(ctx context.Context, ms []Machine) ([]Machine, error)

	// Address is where other machines of the fleet reach process i of a group on m: an IP address
	// or host name, no port. It may be asked before the group is started.
	Address(m Machine, group string, i int) string

	// Stage puts a file onto m and returns its absolute path there. A file with the same
	// checksum is not sent again; a torn copy is never seen under the returned path.
	Stage(ctx context.Context, m Machine, f File) (string, error)

	// Start starts the processes of g and returns when it is sure that each has been started; with
	// an error some may have been. A second call with the same ID starts what the first did not,
	// whoever made it.
	Start(ctx context.Context, g Group) error

	// Wait returns how the process ended, as soon as it has, whoever started it. A non-zero
	// code is a result, not an error. A process that m knows nothing of is ErrNotFound; one
	// that vanished without a trace (the machine restarted) is an error of class Infra.
	Wait(ctx context.Context, m Machine, id string) (Exit, error)

	// Stop ends a process (SIGTERM, after grace SIGKILL) with all its children, and returns
	// when none is left. A process that has ended or is unknown is no error.
	Stop(ctx context.Context, m Machine, id string, grace time.Duration) error

	// Open reads a file the process left in its folder, or one of Stdout, Stderr, Probe, from
	// offset on; it may be read while the process runs. Unknown names are ErrNotFound. The
	// content is streamed; closing early is fine.
	Open(ctx context.Context, m Machine, id, name string, offset int64) (io.ReadCloser, error)

	// Close lets connections go. Processes stay.
	Close() error
}

// A Queuer is a Launcher that wants to see a trial as a whole before any of it starts: its processes
// may have to wait for their turn, such as in a queue of their cluster that others are in as well. How
// long that takes is nobody's promise, and no time limit of a trial counts it.
type Queuer interface {
	// Queue puts the groups of a trial into the queue of their machines and returns when all of them
	// may start; queued is false where there is no queue. Nothing of a group runs before its Start.
	// The groups are all that this launcher will start of a trial, and none has been: where they can
	// be one thing for the cluster, they become it here. A second call finds what the first put there,
	// whoever made it.
	Queue(ctx context.Context, groups []Group) (queued bool, err error)
}

// A Backend is what a cloud of a testbed opens to.
type Backend struct {
	Provider
	// Launchers by Access.Kind of the machines that the provider makes.
	Launchers map[string]Launcher
	// Close ends what Open started in this process, and nothing in the cloud.
	Close func(ctx context.Context) error
}

// Options are what a backend gets to know of its run.
type Options struct {
	Cloud  string                           // name in the testbed
	Config json.RawMessage                  // the cloud's settings
	Secret []byte                           // 32 random bytes of the run, the same after a restart; keys are derived from it
	State  string                           // a folder of the run for what the backend keeps between restarts
	Log    func(format string, args ...any) // progress for the curious; may be nil
}

// A Factory opens a kind of backend.
type Factory struct {
	Kind string // "openstack", "sandbox", ...
	Open func(ctx context.Context, o Options) (*Backend, error)
}
