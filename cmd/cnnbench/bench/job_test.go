package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dlx.dev/dlx/cmd/cnnbench/cluster"
)

// startServers starts n parameter servers for the run that args describe and returns the flags that name the hosts. They
// stop when the test ends.
func startServers(t *testing.T, n, workers int, args ...string) []string {
	t.Helper()
	listeners, addrs := make([]net.Listener, n), make([]string, n)
	for i := range n {
		var lc net.ListenConfig
		l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[i], addrs[i] = l, l.Addr().String()
	}
	hosts := []string{
		"--ps_hosts=" + strings.Join(addrs, ","),
		"--worker_hosts=" + strings.Repeat("unused:1,", workers-1) + "unused:1",
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	var wg sync.WaitGroup
	for i, l := range listeners {
		o, complaints, _ := parse(slices.Concat(args, hosts, []string{"--job_name=ps", fmt.Sprintf("--task_index=%d", i)}))
		if len(complaints) > 0 {
			t.Fatal(complaints)
		}
		wg.Go(func() {
			if err := serveOn(ctx, o, &printer{io.Discard}, l); err != context.Cause(ctx) { //nolint:errorlint // the very cause
				t.Errorf("server %d: got %v; want it to end with its context", i, err)
			}
		})
	}
	t.Cleanup(func() {
		cancel(Stopped{syscall.SIGTERM})
		wg.Wait()
	})
	return hosts
}

// trainJob trains with workers at the same time and returns the losses and the first device's parameters of each.
func trainJob(t *testing.T, n, workers int, args []string) (losses [][]float64, params [][]float32) {
	t.Helper()
	losses, params = make([][]float64, workers), make([][]float32, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			l, tr := steps(t, n, slices.Concat(args, []string{"--job_name=worker", fmt.Sprintf("--task_index=%d", w)})...)
			// What the next step would begin with.
			if err := tr.each(t.Context(), phase{"fetch", tr.ex.fetch}); err != nil {
				t.Error(err)
			}
			losses[w], params[w] = l, tr.nets[0].Params()
		})
	}
	wg.Wait()
	return losses, params
}

func TestWorkersTrainAsDevicesOfOneProcess(t *testing.T) {
	common := []string{"--model=lenet", "--batch_size=4", "--optimizer=momentum"}
	for _, tt := range []struct{ servers, workers, devices int }{{1, 1, 1}, {1, 2, 1}, {2, 2, 1}, {3, 2, 2}} {
		for _, update := range [][]string{
			{"--variable_update=distributed_replicated"},
			{"--variable_update=parameter_server", "--local_parameter_device=cpu"},
			{"--variable_update=parameter_server", "--local_parameter_device=gpu"},
		} {
			t.Run(fmt.Sprintf("%d servers, %d workers, %d devices, %v", tt.servers, tt.workers, tt.devices, update), func(t *testing.T) {
				args := slices.Concat(common, update, []string{fmt.Sprintf("--num_gpus=%d", tt.devices)})
				args = append(args, startServers(t, tt.servers, tt.workers, args...)...)
				losses, params := trainJob(t, 3, tt.workers, args)
				want, local := steps(t, 3, slices.Concat(common, []string{
					"--variable_update=replicated", fmt.Sprintf("--num_gpus=%d", tt.workers*tt.devices),
				})...)
				for i := range want {
					mean := 0.0
					for _, l := range losses {
						mean += l[i] / float64(tt.workers)
					}
					if d := mean - want[i]; d > 1e-5 || d < -1e-5 {
						t.Errorf("mean loss of step %d: got %v; want that of one process, %v", i+1, mean, want[i])
					}
				}
				for w, p := range params {
					if !slices.Equal(p, params[0]) {
						t.Errorf("parameters of worker %d: got others; want those of worker 0", w)
					}
					for i, v := range p {
						if d := v - local.nets[0].Params()[i]; d > 1e-5 || d < -1e-5 {
							t.Fatalf("parameter %d of worker %d: got %v; want that of one process, %v", i, w, v, local.nets[0].Params()[i])
						}
					}
				}
			})
		}
	}
}

// A whole run of two workers through the front door; the servers wait for a free port that the test found.
func TestJobPrintsALineForEachWorkerAndTheClustersTotal(t *testing.T) {
	args := []string{
		"--model=lenet", "--batch_size=4", "--num_gpus=2", "--num_batches=4", "--num_warmup_batches=1", "--display_every=2",
		"--variable_update=distributed_replicated",
	}
	args = append(args, startServers(t, 2, 2, args...)...)
	var outs [2]bytes.Buffer
	var wg sync.WaitGroup
	for w := range outs {
		wg.Go(func() {
			a := slices.Concat(args, []string{"--job_name=worker", fmt.Sprintf("--task_index=%d", w)})
			if code := Main(t.Context(), a, &outs[w], os.Stderr); code != 0 {
				t.Errorf("worker %d: got code %d; want 0", w, code)
			}
		})
	}
	wg.Wait()
	path := filepath.Join("testdata", "worker1.stdout")
	got := mask(outs[1].String())
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("stdout of worker 1, rewritten by -update (-want +got):\n%s", diff)
	}
	// Both count the other, so that total over the own mean is about the number of workers.
	for w := range outs {
		var mean, total float64
		for line := range strings.Lines(outs[w].String()) {
			_, _ = fmt.Sscanf(line, "4\timages/sec: %g", &mean)
			_, _ = fmt.Sscanf(line, "total images/sec: %g", &total)
		}
		if ratio := total / mean; !(ratio > 1.2 && ratio <= 2.01) {
			t.Errorf("worker %d: total %v over mean %v: got %v; want about 2", w, total, mean, ratio)
		}
	}
}

func TestServerRunsUntilItIsStopped(t *testing.T) {
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	args := []string{"--job_name=ps", "--ps_hosts=localhost:" + port, "--worker_hosts=localhost:1"}

	var stdout, stderr bytes.Buffer
	code := Main(t.Context(), args, &stdout, &stderr)
	if code != 1 || !strings.Contains(stderr.String(), "address already in use") {
		t.Errorf("port in use: got code %d, stderr %q; want 1 and why", code, stderr.String())
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stderr.Reset()
	code = Main(ctx, args, writerFunc(func(b []byte) (int, error) {
		cancel(Stopped{syscall.SIGTERM})
		return stdout.Write(b)
	}), &stderr)
	if code != 143 || stdout.String() != "Running parameter server 0\n" || stderr.String() != "cnnbench: stopped by signal: terminated\n" {
		t.Errorf("got code %d, stdout %q, stderr %q; want 143, a line in each", code, stdout.String(), stderr.String())
	}
}

func TestWorkerOfAnotherRunIsRefused(t *testing.T) {
	hosts := startServers(t, 1, 1, "--model=lenet")
	code, _, stderr := runMain(t, slices.Concat(hosts, []string{"--model=lenet", "--job_name=worker", "--learning_rate=7", "--batch_size=1"})...)
	if code != 1 || !strings.Contains(stderr, ": refused: worker 0 belongs to another run: ") {
		t.Errorf("got code %d, stderr %q; want 1 and the difference", code, stderr)
	}
}

func TestWorkerThatWaitsForItsServerCanBeStopped(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(Stopped{syscall.SIGINT})
	var stderr bytes.Buffer
	// Port 1 has no server.
	code := Main(ctx, []string{"--job_name=worker", "--ps_hosts=127.0.0.1:1", "--worker_hosts=a:1"}, io.Discard, &stderr)
	if code != 130 {
		t.Errorf("got code %d, stderr %q; want 130", code, stderr.String())
	}
}

func TestPartsOfWorkersAreThoseOfTheCluster(t *testing.T) {
	o, _, _ := parse([]string{"--job_name=worker", "--ps_hosts=a:1,b:1,c:1", "--worker_hosts=d:1,e:1", "--task_index=1"})
	want := cluster.Hello{
		Version: Version, Model: "trivial", Size: 969, Seed: 1234, Optimizer: "sgd", LearningRate: 0.01, Momentum: 0.9,
		Servers: 3, Worker: 1, Workers: 2,
	}
	if diff := cmp.Diff(want, o.hello(969)); diff != "" {
		t.Errorf("hello (-want +got):\n%s", diff)
	}
}
