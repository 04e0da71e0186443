package bench

import (
	"context"
	"errors"
	"sync"
	"time"

	"dlx.dev/dlx/cmd/cnnbench/cluster"
	"dlx.dev/dlx/cmd/cnnbench/data"
	"dlx.dev/dlx/cmd/cnnbench/nn"
)

// trainer holds the towers of a run. One goroutine uses it.
type trainer struct {
	o       *options
	towers  []*tower
	nets    []*nn.Net
	sources []data.Source   // one a tower, or one for all
	ex      exchange        // nil with --forward_only
	client  *cluster.Client // nil without parameter servers
	limit   chan struct{}   // one place for each tower that may compute; nil = all may
	trace   *trace          // of the step that is taken; nil = it is not traced
}

// tower is one device: a net, its batch and what the last step found on it.
type tower struct {
	net    *nn.Net
	pixels []float32 // NHWC
	labels []int32
	fresh  bool // the batch is new and not in the net yet
	result
}

// result is what a step found, over all pictures of the step.
type result struct {
	loss       float64 // of the kind that --loss_type_to_report says; 0 with --forward_only, as upstream
	top1, top5 float64 // share of pictures, 0 to 1
}

// openSources opens where pictures come from: one image set that the towers share, or synthetic data for each. Each
// worker of a run has synthetic data of its own, or begins elsewhere in the set.
func openSources(o *options) ([]data.Source, error) {
	if o.dataDir != "" {
		set, err := data.Open(o.dataDir, o.model.Size, nn.Classes)
		if err != nil {
			return nil, err
		}
		set.StartAt(o.taskIndex, o.workers())
		return []data.Source{set}, nil
	}
	sources := make([]data.Source, o.devices)
	for i := range sources {
		sources[i] = data.NewSynthetic(nn.Classes, uint64(o.seed)+uint64(o.taskIndex*o.devices+i))
	}
	return sources, nil
}

// newTrainer makes the towers, which start with the same parameters. It takes the sources over.
func newTrainer(ctx context.Context, o *options, sources []data.Source) (*trainer, error) {
	t := &trainer{o: o, sources: sources}
	for range o.devices {
		net := o.model.New(o.batchSize, uint64(o.seed))
		t.nets = append(t.nets, net)
		t.towers = append(t.towers, &tower{
			net:    net,
			pixels: make([]float32, o.batchSize*o.model.Size*o.model.Size*3),
			labels: make([]int32, o.batchSize),
		})
	}
	if o.interThreads > 0 {
		t.limit = make(chan struct{}, o.interThreads)
	}
	if o.forwardOnly {
		return t, nil
	}
	if o.jobName == jobWorker {
		x, err := newRemote(ctx, o, t.nets)
		if err != nil {
			return nil, err
		}
		t.ex, t.client = x, x.client
		return t, nil
	}
	var err error
	t.ex, err = newExchange(o, t.nets)
	return t, err
}

// close says goodbye to the servers and frees the sources.
func (t *trainer) close() error {
	var errs []error
	if t.client != nil {
		errs = append(errs, t.client.Close())
	}
	for _, s := range t.sources {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// step takes one step on all towers.
func (t *trainer) step(ctx context.Context) (result, error) {
	for i, w := range t.towers {
		start := time.Now()
		var err error
		if w.fresh, err = t.sources[i%len(t.sources)].Next(ctx, w.pixels, w.labels); err != nil {
			return result{}, err
		}
		t.trace.note("load", start, t.o.taskIndex, i)
	}
	phases := []phase{{"compute", t.compute}}
	if t.ex != nil {
		phases = []phase{{"fetch", t.ex.fetch}, {"compute", t.compute}, {"reduce", t.ex.reduce}, {"apply", t.ex.apply}}
	}
	for _, p := range phases {
		if err := t.each(ctx, p); err != nil {
			return result{}, err
		}
	}
	var sum result
	for _, w := range t.towers {
		sum.loss += w.loss
		sum.top1 += w.top1
		sum.top5 += w.top5
	}
	n := float64(len(t.towers))
	return result{loss: sum.loss / n, top1: sum.top1 / n, top5: sum.top5 / n}, nil
}

// phase is a part of a step that all towers do.
type phase struct {
	name string
	do   func(context.Context, int) error
}

// compute runs the forward pass, and the backward pass where wanted, of one tower.
func (t *trainer) compute(_ context.Context, i int) error {
	w := t.towers[i]
	if w.fresh {
		w.net.SetBatch(w.pixels, w.labels)
	}
	loss := w.net.Forward(!t.o.forwardOnly)
	if t.o.forwardOnly {
		return nil
	}
	w.loss = loss.Total
	if t.o.lossType == "base_loss" {
		w.loss = loss.Base
	}
	if t.o.accuracy {
		w.top1, w.top5 = w.net.Accuracy()
	}
	w.net.Backward()
	return nil
}

// each does a phase on all towers, at the same time as far as --num_inter_threads allows, and waits for all.
func (t *trainer) each(ctx context.Context, p phase) error {
	f := func(ctx context.Context, i int) error {
		start := time.Now()
		defer t.trace.note(p.name, start, t.o.taskIndex, i)
		return p.do(ctx, i)
	}
	if len(t.towers) == 1 {
		return f(ctx, 0)
	}
	errs := make([]error, len(t.towers))
	var wg sync.WaitGroup
	for i := range t.towers {
		wg.Go(func() {
			if t.limit != nil {
				t.limit <- struct{}{}
				defer func() { <-t.limit }()
			}
			errs[i] = f(ctx, i)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
