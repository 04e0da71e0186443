package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"
	"syscall"
	"time"

	"dlx.dev/dlx/cmd/cnnbench/data"
	"dlx.dev/dlx/cmd/cnnbench/nn"
)

// Version is the number of the nets and of the arithmetic. It rises when a change to them makes numbers no longer
// comparable with those of before: speed, loss or the meaning of a line. The banner prints it.
const Version = "1"

// Exit codes of [Main]. A run that a signal ended exits with 128 plus the number of the signal.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
	exitStopped = 128
)

// Stopped is the cause of a context that a signal ended; see [context.Cause].
type Stopped struct {
	Signal syscall.Signal
}

// Error implements error.
func (s Stopped) Error() string { return "stopped by signal: " + s.Signal.String() }

// Main runs cnnbench with the given arguments, program name left out, and returns its exit code: 0 if all went well, 1 if
// training failed, 2 if the arguments are wrong (stderr then says every mistake), 128 plus a signal's number if ctx ended
// with [Stopped] as its cause, and 130 if ctx ended otherwise.
//
// Results go to stdout, each line in one write as soon as it is known. Main may be called several times in a process, but
// not at the same time with --num_intra_threads, which changes GOMAXPROCS until Main returns.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, complaints, help := parse(args)
	if help {
		usage(stdout)
		return exitOK
	}
	if len(complaints) > 0 {
		for _, c := range complaints {
			complain(stderr, c)
		}
		return exitUsage
	}
	if o.intraThreads > 0 {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(o.intraThreads))
	}
	work := run
	switch {
	case o.makeDir != "":
		work = makeData
	case o.jobName == jobServer:
		work = serve
	}
	err := work(ctx, o, &printer{w: stdout})
	switch {
	case err == nil:
		return exitOK
	case ctx.Err() != nil:
		complain(stderr, context.Cause(ctx).Error())
		if s, ok := errors.AsType[Stopped](context.Cause(ctx)); ok {
			return exitStopped + int(s.Signal)
		}
		return exitStopped + int(syscall.SIGINT)
	default:
		complain(stderr, err.Error())
		return exitFailure
	}
}

// complain prints a message for people.
func complain(w io.Writer, message string) {
	_, _ = fmt.Fprintf(w, "cnnbench: %s\n", message) // no place left to complain about stderr
}

// makeData is --make_data.
func makeData(ctx context.Context, o *options, p *printer) error {
	if err := data.Generate(ctx, o.makeDir, o.makeImages, nn.Classes, uint64(o.seed)); err != nil {
		return err
	}
	return p.line(fmt.Sprintf("wrote %d pictures to %s", o.makeImages, o.makeDir))
}

// tracedStep is the warm-up step that --trace_file traces, counted from the last: upstream's step -2.
const tracedStep = 2

// run is a whole benchmark.
func run(ctx context.Context, o *options, p *printer) (err error) {
	sources, err := openSources(o)
	if err != nil {
		return err
	}
	steps := o.steps(sources[0].Len())
	var lines []string
	if o.jobName == jobWorker {
		lines = append(lines, fmt.Sprintf("Starting worker %d", o.taskIndex))
	}
	lines = append(lines, o.banner(steps, sources[0].Len())...)
	if err := p.line(append(lines, "Generating training model")...); err != nil {
		return err
	}
	t, err := newTrainer(ctx, o, sources)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	if err := p.line("Initializing graph", "Running warm up"); err != nil {
		return err
	}
	for left := o.warmup; left > 0; left-- {
		if err := ctx.Err(); err != nil {
			return err
		}
		if left == tracedStep && o.traceFile != "" {
			t.trace = newTrace()
		}
		if _, err := t.step(ctx); err != nil {
			return err
		}
		if t.trace != nil {
			if err := t.trace.write(o.traceFile); err != nil {
				return err
			}
			t.trace = nil
		}
	}
	if t.client != nil {
		if err := p.line("Waiting for other replicas to finish warm up"); err != nil {
			return err
		}
		if err := t.client.Barrier(); err != nil {
			return err
		}
	}
	begin := time.Now() // for all workers the same moment, whatever it takes to print
	if err := p.line("Done warm up", o.header()); err != nil {
		return err
	}
	return timed(ctx, o, t, steps, begin, p)
}

// timed takes the timed steps and prints their lines and the total.
func timed(ctx context.Context, o *options, t *trainer, steps int, begin time.Time, p *printer) error {
	batch := o.batchSize * o.devices
	times := newTiming(batch, steps)
	for step := 1; step <= steps; step++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		start := time.Now()
		r, err := t.step(ctx)
		if err != nil {
			return err
		}
		times.add(time.Since(start))
		if step == 1 || step%o.displayEvery == 0 {
			if err := p.line(times.stepLine(step, r, o.accuracy)); err != nil {
				return err
			}
		}
	}
	if t.client != nil { // the run is over when all are through, not when the first is
		if err := t.client.Barrier(); err != nil {
			return err
		}
	}
	// As upstream, a worker takes the others to be as fast as itself: its total is an estimate of the whole run's.
	total := float64(o.workers()) * float64(batch) * float64(steps) / time.Since(begin).Seconds()
	rule := strings.Repeat("-", 64)
	return p.line(rule, "total images/sec: "+decimal(total, 2), rule)
}

// steps returns the number of timed steps. --num_epochs is rounded up to whole steps.
func (o *options) steps(epochLen int) int {
	switch {
	case o.numEpochs > 0:
		return max(1, int(math.Ceil(o.numEpochs*float64(epochLen)/float64(o.batchSize*o.devices))))
	case o.numBatches > 0:
		return o.numBatches
	default:
		return defaultBatches
	}
}

// printer writes lines.
type printer struct{ w io.Writer }

// line writes each line in a write of its own.
func (p *printer) line(lines ...string) error {
	for _, l := range lines {
		if _, err := io.WriteString(p.w, l+"\n"); err != nil {
			return fmt.Errorf("stdout: result cannot be written: %w", err)
		}
	}
	return nil
}
