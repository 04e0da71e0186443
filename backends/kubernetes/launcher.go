package kubernetes

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/internal/gates"
)

// Options set how a Launcher works. The zero value is right for clusters on a network.
type Options struct {
	// Dial opens connections; nil: client-go's own.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	// Patience is how long a cluster, or a holder, may not answer before a call gives up with
	// class Transport or Infra. 0: two minutes.
	Patience time.Duration

	// Boot is how long a pod may take from being asked for to running while nothing says that
	// it cannot. 0: 20 minutes, in which 20 GB of image come over a slow registry.
	Boot time.Duration

	// Mend is how long a trouble may last that often passes by itself: a mount that fails, a
	// registry that is busy, a new cluster whose nodes join one by one. 0: three minutes, for
	// kubelet tries again with pauses of up to two.
	Mend time.Duration

	// Log tells the curious what happens; may be nil.
	Log func(format string, args ...any)
}

// A Launcher puts processes into pods of any cluster whose machines carry a kubeconfig. It
// implements backends.Launcher.
type Launcher struct {
	opt Options

	mu       sync.Mutex
	clusters map[string]*cluster
	closed   bool
	making   gates.Gates // by namespace, run and fleet: requests under way, which a release waits for; by namespace: it is made or removed
}

var _ backends.Launcher = (*Launcher)(nil)

// New makes a Launcher. It connects to nothing yet.
func New(o Options) *Launcher {
	if o.Patience == 0 {
		o.Patience = 2 * time.Minute
	}
	if o.Boot == 0 {
		o.Boot = 20 * time.Minute
	}
	if o.Mend == 0 {
		o.Mend = mending
	}
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	return &Launcher{opt: o, clusters: map[string]*cluster{}}
}

// Close lets all connections go. Processes stay. Calls after it fail.
func (l *Launcher) Close() error {
	l.mu.Lock()
	all := l.clusters
	l.clusters, l.closed = nil, true
	l.mu.Unlock()
	for _, c := range all {
		c.close()
	}
	return nil
}

// cluster gives the connection to a namespace, made at the first call.
func (l *Launcher) cluster(ctx context.Context, kubeconfig []byte, ns string) (*cluster, error) {
	sum := sha256.Sum256(kubeconfig)
	key := string(sum[:]) + ns
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, backends.Errorf(backends.Canceled, "namespace "+ns, "the launcher is closed")
	}
	if c := l.clusters[key]; c != nil {
		return c, nil
	}
	api, err := connect(kubeconfig, l.opt.Dial, l.opt.Log)
	if err != nil {
		return nil, backends.Errorf(backends.Config, "namespace "+ns, "%w", err)
	}
	c := newCluster(ctx, api, ns, &l.making, l.opt)
	l.clusters[key] = c
	return c, nil
}

// A spot is a machine as this package sees it.
type spot struct {
	machine backends.Machine
	at      *backends.Kubernetes
	pod     Pod
	holder  string // name of its pod
	inSet   bool   // Jobs are those of a JobSet
}

// jobName names the Job of a group on the machine.
func (s *spot) jobName(group string) string {
	if !s.inSet {
		return jobName(s.at.Owner, group)
	}
	return s.setName(group) + "-" + setRole(group) + "-0" // JobSet's rule: that of the first of a role's Jobs
}

// setName names the JobSet of a group's trial on the machine.
func (s *spot) setName(group string) string { return setName(s.at.Owner, group, s.pod.Queue) }

// spot reads how a machine is reached.
func spotOf(m backends.Machine) (*spot, error) {
	op := "machine " + m.Name
	a := m.Access.Kubernetes
	if a == nil {
		return nil, backends.Errorf(backends.Internal, op, "no kubernetes access (access is %q)", m.Access.Kind())
	}
	if err := checkOwner(a.Owner, true); err != nil {
		return nil, backends.Errorf(backends.Internal, op, "%w", err)
	}
	if !dnsLabel.MatchString(a.Namespace) || len(a.Namespace) > maxLabel {
		return nil, backends.Errorf(backends.Config, op, "namespace %q is no DNS label", a.Namespace)
	}
	p, err := parsePod(a.Pod)
	if err != nil {
		return nil, backends.Errorf(backends.Config, op, "spec: %w", err)
	}
	return &spot{machine: m, at: a, pod: p, holder: holderName(a.Owner, m.Name), inSet: a.JobSet}, nil
}

// reach gives a machine with its cluster.
func (l *Launcher) reach(ctx context.Context, m backends.Machine) (*spot, *cluster, error) {
	s, err := spotOf(m)
	if err != nil {
		return nil, nil, err
	}
	c, err := l.cluster(ctx, s.at.Config, s.at.Namespace)
	return s, c, err
}

// parsePod reads and checks the description of a pod; unknown fields are refused.
func parsePod(raw json.RawMessage) (Pod, error) {
	var p Pod
	if err := strict(raw, &p); err != nil {
		return p, err
	}
	var errs []error
	if p.Image == "" {
		errs = append(errs, errors.New("image is missing"))
	}
	switch p.PullPolicy {
	case "", "Always", "IfNotPresent", "Never":
	default:
		errs = append(errs, fmt.Errorf("pullPolicy: unknown %q (known: Always, IfNotPresent, Never)", p.PullPolicy))
	}
	if p.Scratch.HostPath != "" && p.Scratch.Claim != "" {
		errs = append(errs, errors.New("scratch: hostPath and claim exclude each other"))
	}
	switch {
	case p.User < 0:
		errs = append(errs, fmt.Errorf("user: %d is no user", p.User))
	case p.User > 0 && p.Scratch == Scratch{}:
		errs = append(errs, errors.New("user: only root may write to the folder that is made for scratch by default; name a claim, or a folder of that user"))
	}
	for i, m := range p.Mounts {
		if (m.HostPath == "") == (m.Claim == "") {
			errs = append(errs, fmt.Errorf("mounts[%d]: exactly one of hostPath and claim is wanted", i))
		}
		for what, value := range map[string]string{"path": m.Path, "hostPath": m.HostPath} {
			if (value != "" || what == "path") && !strings.HasPrefix(value, "/") {
				errs = append(errs, fmt.Errorf("mounts[%d].%s: %q is no absolute path", i, what, value))
			}
		}
	}
	if h := p.Scratch.HostPath; h != "" && (h[0] != '/' || h == "/") {
		errs = append(errs, fmt.Errorf("scratch.hostPath: %q is no absolute path below /", h))
	}
	switch {
	case p.GPU != "" && p.DeviceClass != "":
		errs = append(errs, errors.New("gpu and deviceClass exclude each other"))
	case p.GPU == "" && p.DeviceClass == "":
		p.GPU = "nvidia.com/gpu"
	}
	return p, errors.Join(errs...)
}
