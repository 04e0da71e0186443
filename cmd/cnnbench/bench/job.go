package bench

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"

	"dlx.dev/dlx/cmd/cnnbench/cluster"
	"dlx.dev/dlx/cmd/cnnbench/nn"
)

const (
	jobServer = "ps"
	jobWorker = "worker"
)

// hosts splits a list of host:port.
func hosts(list string) []string { return strings.Split(list, ",") }

// workers is the number of worker processes of the run, 1 where there is one process only.
func (o *options) workers() int {
	if o.jobName == "" {
		return 1
	}
	return len(hosts(o.workerHosts))
}

// hello is what the processes of a run have to agree on.
func (o *options) hello(size int) cluster.Hello {
	return cluster.Hello{
		Version: Version, Model: o.model.Name, Size: size, Seed: o.seed,
		Optimizer: o.optimizer, LearningRate: o.learningRate, Momentum: o.momentum,
		Servers: len(hosts(o.psHosts)), Worker: o.taskIndex, Workers: o.workers(),
	}
}

// serve is --job_name=ps: it listens at its entry in --ps_hosts, see [cluster.ListenAddress], and never ends by itself.
func serve(ctx context.Context, o *options, p *printer) error {
	addr, err := cluster.ListenAddress(ctx, hosts(o.psHosts)[o.taskIndex])
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return serveOn(ctx, o, p, l)
}

func serveOn(ctx context.Context, o *options, p *printer, l net.Listener) error {
	params := o.model.New(1, uint64(o.seed)).Params()
	hello := o.hello(len(params))
	hello.Server = o.taskIndex
	from, to := cluster.Part(len(params), hello.Server, hello.Servers)
	s, err := cluster.NewServer(hello, params[from:to], func() (nn.Optimizer, error) {
		return nn.NewOptimizer(o.optimizer, to-from, o.learningRate, o.momentum)
	})
	if err != nil {
		return err
	}
	if err := p.line(fmt.Sprintf("Running parameter server %d", o.taskIndex)); err != nil {
		return err
	}
	return s.Serve(ctx, l)
}

// remoteVariables are on parameter servers. The first tower sends the mean gradient of the worker's towers. The parameters
// come back in one of two ways: for the worker as a whole, copied to each tower; or to each tower by itself.
type remoteVariables struct {
	towers
	client *cluster.Client
	alone  sync.Mutex // the client makes one request at a time
	params []float32  // the worker's copy; nil where each tower fetches for itself
}

// newRemote connects to the parameter servers.
func newRemote(ctx context.Context, o *options, nets []*nn.Net) (*remoteVariables, error) {
	size := len(nets[0].Params())
	client, err := cluster.Dial(ctx, hosts(o.psHosts), o.hello(size))
	if err != nil {
		return nil, err
	}
	x := &remoteVariables{towers: towers{nets: nets, mean: make([]float32, size)}, client: client}
	if o.variableUpdate == updateServer && o.parameterDevice == "gpu" {
		return x, nil
	}
	x.params = make([]float32, size)
	return x, client.Fetch(x.params)
}

func (x *remoteVariables) fetch(_ context.Context, tower int) error {
	if x.params != nil {
		copy(x.nets[tower].Params(), x.params)
		return nil
	}
	x.alone.Lock()
	defer x.alone.Unlock()
	return x.client.Fetch(x.nets[tower].Params())
}

func (x *remoteVariables) reduce(_ context.Context, tower int) error {
	if tower == 0 {
		x.average(0, len(x.mean))
	}
	return nil
}

func (x *remoteVariables) apply(_ context.Context, tower int) error {
	if tower != 0 {
		return nil
	}
	if err := x.client.Push(x.mean); err != nil {
		return err
	}
	if x.params == nil {
		return nil
	}
	return x.client.Fetch(x.params)
}
