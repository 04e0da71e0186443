package openstack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/internal/gates"
	"dlx.dev/dlx/backends/ssh"
)

// provider implements backends.Provider.
type provider struct {
	p     Params
	cloud *cloud
	reach func(context.Context, *backends.SSH) error // one login; ssh.ErrLogin is worth another try
	jump  func(context.Context, *backends.SSH) error // one login to a jump host
	via   func() (*backends.SSH, error)              // the jump host; what needs no login needs no key either
	log   func(string, ...any)

	servers *poller[map[string]*serverView]
	metal   *poller[metalView]
	coes    *poller[map[string]*clusterView]

	making gates.Gates // by "run fleet": requests under way, which Release waits for
	keys   gates.Gates // by run: one at a time makes or removes the keypair and the run's network

	mu      sync.Mutex
	logins  map[string]*key    // by run; only so that the same bytes come back, which are salted
	paired  map[string]bool    // runs whose keypair is known to be there
	runNets map[string]*runNet // by run, once it is there as a whole

	configs map[string][]byte // kubeconfigs by cluster
}

// New logs into a cloud and opens it.
func New(ctx context.Context, p Params) (*backends.Backend, error) {
	p.fill()
	if len(p.Secret) < 16 {
		return nil, backends.Errorf(backends.Internal, "open the cloud", "the run's secret has %d bytes, not 16 or more", len(p.Secret))
	}
	c, err := connect(ctx, &p)
	if err != nil {
		return nil, err
	}
	p.Launcher.Dial, p.Launcher.Log = p.Dial, p.Log
	launcher := ssh.New(p.Launcher)
	alive, end := context.WithCancelCause(context.WithoutCancel(ctx))
	o := &provider{p: p, cloud: c, log: p.Log, reach: launcher.Reach, jump: launcher.ReachJump, via: sync.OnceValues(p.Jump.access), logins: map[string]*key{}, paired: map[string]bool{}, runNets: map[string]*runNet{}, configs: map[string][]byte{}}
	o.servers = newPoller(alive, p.PollMin, p.PollMax, p.Log, o.listAll, serversChanged)
	o.metal = newPoller(alive, p.PollMin, p.PollMax, p.Log, o.listMetal, metalChanged)
	o.coes = newPoller(alive, p.PollMin, p.PollMax, p.Log, o.listClusters, clustersChanged)
	return &backends.Backend{
		Provider:  o,
		Launchers: map[string]backends.Launcher{"ssh": launcher},
		Close: func(context.Context) error {
			end(errors.New("the cloud is closed"))
			o.servers.done.Wait()
			o.metal.done.Wait()
			o.coes.done.Wait()
			err := launcher.Close()
			c.client.HTTPClient.CloseIdleConnections()
			return err
		},
	}, nil
}

func (p *Params) fill() {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&p.PollMin, 2*time.Second)
	set(&p.PollMax, max(15*time.Second, p.PollMin))
	set(&p.Boot, 30*time.Minute)
	set(&p.Reach, 10*time.Minute)
	if p.SSHPort == 0 {
		p.SSHPort = 22
	}
	if p.Log == nil {
		p.Log = func(string, ...any) {}
	}
}

// A job is one machine on its way.
type job struct {
	machine string // as requested
	name    string // in the cloud
	spec    Spec
	flavor  string // IDs
	image   string
	network string
	metal   bool // a server that is a host of its own; known where that counts
	login   *key
	host    *key
	via     *backends.SSH
	group   string // ID of a security group; empty: the cloud picks
	pool    string // ID of the external network that its floating IP is from; empty: it has none

	floating *netView

	id      string // of the server or allocation, once it is known
	address string
	where   string // Machine.Host
	facts   map[string]string
}

// A fleet is what a Provision works on.
type fleet struct {
	backends.FleetRequest
	jobs    []*job
	cluster *coe // of machines of magnum
}

// of gives the machines of a service.
func (f *fleet) of(service string) []*job {
	var out []*job
	for _, j := range f.jobs {
		if j.spec.Service == service {
			out = append(out, j)
		}
	}
	return out
}

// makeTime bounds the requests of a Provision that go on after its context has ended: they
// have arrived or not, and Release has to know.
const makeTime = 30 * time.Minute

// Provision makes the machines of a fleet, or finds them.
func (o *provider) Provision(ctx context.Context, req backends.FleetRequest) ([]backends.Machine, error) {
	f, err := o.prepare(ctx, req)
	if err != nil {
		return nil, err
	}
	leave, err := o.making.Enter(ctx, gateName(req.Owner))
	if err != nil {
		return nil, err
	}
	made := make(chan error, 1)
	go func() {
		defer leave()
		bounded, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), makeTime,
			backends.Errorf(backends.Transport, "provision "+req.Owner.Fleet, "the cloud's services have not answered for %v", makeTime))
		defer cancel()
		made <- o.make(bounded, ctx, f)
	}()
	select {
	case err = <-made:
	case <-ctx.Done():
		return nil, fmt.Errorf("provision %s: %w", req.Owner.Fleet, context.Cause(ctx))
	}
	if err != nil {
		return nil, err
	}

	if f.cluster != nil {
		if err := o.awaitCluster(ctx, f); err != nil {
			if ctx.Err() != nil {
				err = fmt.Errorf("provision %s: %w", req.Owner.Fleet, context.Cause(ctx))
			}
			return nil, err
		}
		return o.nodes(ctx, f)
	}

	g, gctx := errgroup.WithContext(ctx)
	for _, wait := range []func(context.Context, *fleet, func(*job)) error{o.awaitServers, o.awaitNodes} {
		g.Go(func() error {
			return wait(gctx, f, func(j *job) {
				g.Go(func() error {
					if err := o.giveFloating(gctx, j); err != nil {
						return err
					}
					return o.login(gctx, j)
				})
			})
		})
	}
	if err := g.Wait(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("provision %s: %w", req.Owner.Fleet, context.Cause(ctx))
		}
		return nil, err
	}
	out := make([]backends.Machine, len(f.jobs))
	for i, j := range f.jobs {
		out[i] = backends.Machine{Name: j.machine, ID: j.id, Address: j.address, Host: j.where, Access: backends.Access{SSH: o.access(j)}, Facts: j.facts}
	}
	return out, nil
}

// loginKey gives the run's login key, the same bytes each time.
func (o *provider) loginKey(run string) (*key, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if k := o.logins[run]; k != nil {
		return k, nil
	}
	k, err := loginKey(o.p.Secret, run)
	if err == nil {
		o.logins[run] = k
	}
	return k, err
}

func gateName(o backends.Owner) string { return o.Run + " " + o.Fleet }

// prepare checks a request and finds what it names, before anything is made.
func (o *provider) prepare(ctx context.Context, req backends.FleetRequest) (*fleet, error) {
	op := "provision " + req.Owner.Fleet
	if err := checkOwner(req.Owner, true); err != nil {
		return nil, backends.Errorf(backends.Internal, op, "%w", err)
	}
	login, err := o.loginKey(req.Owner.Run)
	if err != nil {
		return nil, backends.Errorf(backends.Internal, op, "%w", err)
	}
	via, err := o.via()
	if err != nil {
		return nil, backends.Errorf(backends.Config, op, "%w", err)
	}
	f := &fleet{FleetRequest: req}
	for _, m := range req.Machines {
		if slices.ContainsFunc(f.jobs, func(j *job) bool { return j.machine == m.Name }) {
			return nil, backends.Errorf(backends.Internal, op, "machine %q twice", m.Name)
		}
		j := &job{machine: m.Name, name: machineName(req.Owner, m.Name), login: login, via: via}
		if j.spec, err = parseSpec(m.Spec); err != nil {
			return nil, backends.Errorf(backends.Config, "machine "+m.Name, "spec: %w", err)
		}
		if j.host, err = hostKey(o.p.Secret, j.name); err != nil {
			return nil, backends.Errorf(backends.Internal, op, "%w", err)
		}
		if j.spec.Service == "magnum" {
			f.jobs = append(f.jobs, j)
			continue
		}
		if j.image, err = o.cloud.imageID(ctx, j.spec.Image); err != nil {
			return nil, err
		}
		if j.spec.Flavor != "" {
			if j.flavor, err = o.cloud.flavor(ctx, j.spec.Flavor); err != nil {
				return nil, err
			}
		}
		if j.spec.Network != "" {
			if j.network, err = o.cloud.networkID(ctx, j.spec.Network); err != nil {
				return nil, err
			}
		}
		if j.spec.FloatingPool != "" {
			if j.pool, err = o.cloud.poolID(ctx, j.spec.FloatingPool); err != nil {
				return nil, err
			}
		}
		if j.spec.Zone != "" {
			if err := o.cloud.zone(ctx, j.spec.Zone); err != nil {
				return nil, err
			}
		}
		if j.spec.Service == "ironic" && o.cloud.metal == nil {
			return nil, backends.Errorf(backends.Config, "machine "+m.Name, "the cloud's catalog has no baremetal service")
		}
		f.jobs = append(f.jobs, j)
	}
	if err := o.prepareCluster(ctx, f); err != nil {
		return nil, err
	}
	return f, o.checkHosts(ctx, f)
}

// make asks for what is not there yet. It goes on with requests that are under way when stop
// ends, and begins no more.
func (o *provider) make(ctx, stop context.Context, f *fleet) error {
	if f.cluster != nil {
		return o.makeCluster(ctx, stop, f)
	}
	if servers := f.of("nova"); len(servers) > 0 {
		if err := o.makeServers(ctx, stop, f, servers); err != nil {
			return err
		}
	}
	if nodes := f.of("ironic"); len(nodes) > 0 {
		return o.makeAllocations(ctx, stop, f, nodes)
	}
	return nil
}

func (o *provider) access(j *job) *backends.SSH {
	host := j.address
	if j.floating != nil {
		host = j.floating.Address
	}
	return &backends.SSH{Addr: net.JoinHostPort(host, strconv.Itoa(o.sshPort(j))), User: j.spec.User, Key: j.login.pem, HostKey: j.host.public, Via: j.via}
}

func (o *provider) sshPort(j *job) int { return cmp.Or(j.spec.SSHPort, o.p.SSHPort) }

// login tries to log into a machine that is up until it lets us in. Before cloud-init is
// through, nobody listens, or the login is refused; a wrong host key stays wrong.
func (o *provider) login(ctx context.Context, j *job) error {
	a, began, pause := o.access(j), time.Now(), min(o.p.PollMin, 2*time.Second)
	for {
		err := o.reach(ctx, a)
		final := backends.ClassOf(err) == backends.Config && !errors.Is(err, ssh.ErrLogin)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case final, backends.ClassOf(err) == backends.Internal:
			return &backends.Error{Class: backends.ClassOf(err), Op: "machine " + j.name, Err: err}
		case time.Since(began) > o.p.Reach:
			class := backends.Transport
			if errors.Is(err, ssh.ErrLogin) {
				class = backends.Config
			}
			said := ""
			if j.spec.Service == "nova" {
				said = o.console(ctx, j.id)
			}
			return backends.Errorf(class, "machine "+j.name, "it is up since %v and cannot be logged into: %w%s", o.p.Reach, err, said)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		pause = min(pause*3/2, 5*time.Second)
	}
}
