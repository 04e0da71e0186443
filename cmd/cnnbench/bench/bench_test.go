package bench

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"dlx.dev/dlx/cmd/cnnbench/nn"
)

var update = flag.Bool("update", false, "rewrite goldens")

// runMain runs the program and returns what it gave.
func runMain(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, complaints bytes.Buffer
	code = Main(t.Context(), args, &out, &complaints)
	return code, out.String(), complaints.String()
}

// mask replaces what differs from run to run and from processor to processor.
func mask(s string) string {
	for _, r := range []struct{ pattern, by string }{
		{`images/sec: \d+\.\d `, "images/sec: N.N "},
		{`\+/- \d+\.\d `, "+/- N.N "},
		{`jitter = \d+\.\d\)`, "jitter = N.N)"},
		{`(?m)\)((?:\t\d+\.\d{3})+)$`, ")LOSS$1"},
		{`total images/sec: \d+\.\d\d`, "total images/sec: N.NN"},
	} {
		s = regexp.MustCompile(r.pattern).ReplaceAllString(s, r.by)
	}
	return regexp.MustCompile(`LOSS\S*(\t\S+)*`).ReplaceAllStringFunc(s, func(m string) string {
		return strings.Repeat("\tN.NNN", strings.Count(m, "\t"))
	})
}

// TestGoldens runs each testdata/*.txtar: its comment explains it, the file "args" holds one argument a line, with $SET for
// the directory of an image set, and "stdout", "stderr" and "code" what the program gives.
func TestGoldens(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("goldens: got %v, %v; want some", paths, err)
	}
	set := filepath.Join(t.TempDir(), "set")
	if code, _, stderr := runMain(t, "--make_data="+set, "--make_images=40"); code != 0 {
		t.Fatalf("--make_data: code %d: %s", code, stderr)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var args []string
			for _, a := range strings.Fields(string(archive.Files[0].Data)) {
				args = append(args, strings.ReplaceAll(a, "$SET", set))
			}
			code, stdout, stderr := runMain(t, args...)
			got := []txtar.File{
				archive.Files[0],
				{Name: "stdout", Data: []byte(mask(stdout))},
				{Name: "stderr", Data: []byte(strings.ReplaceAll(stderr, set, "$SET"))},
				{Name: "code", Data: []byte{byte('0' + code), '\n'}},
			}
			want := archive.Files
			archive.Files = got
			if *update {
				if err := os.WriteFile(path, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(txtar.Format(&txtar.Archive{Files: want})), string(txtar.Format(&txtar.Archive{Files: got}))); diff != "" {
				t.Errorf("golden, rewritten by -update (-want +got):\n%s", diff)
			}
		})
	}
}

// The patterns by which readers of tf_cnn_benchmarks' output take it apart.
const num = `(?:\d+(?:\.\d+)?|nan|inf)`

type lineKind struct{ kind, pattern string }

func lineKinds() []lineKind {
	return []lineKind{
		{"step", `^(?P<step>\d+)\timages/sec: (?P<mean>NUM) \+/- (?P<se>NUM) \(jitter = (?P<mad>NUM)\)\t(?P<loss>-?NUM)(?:\t(?P<top1>NUM)\t(?P<top5>NUM))?\s*$`},
		{"total", `^total images/sec: (?P<v>NUM)\s*$`},
		{"header", `^Step\tImg/sec\t(?P<loss>loss|total_loss|base_loss)(?:\ttop_1_accuracy\ttop_5_accuracy)?\s*$`},
		{"batch", `^Batch size:\s+(?P<g>\d+) global\s*$`},
		{"per device", `^\s+(?P<d>\d+(?:\.\d+)?) per device\s*$`},
		{"key", `^(?P<k>TensorFlow|Model|Dataset|Mode|SingleSess|Num batches|Num epochs|Devices|NUMA bind|Data format|Layout optimizer|RewriterConfig|Optimizer|Variables|AllReduce|Use NCCL|Sync|Staged vars|Horovod on):\s+(?P<v>.*\S)\s*$`},
		{"text", `^(?:={10}|-{64}|Generating training model|Initializing graph|Running warm up|Done warm up)$`},
	}
}

func kindOf(t *testing.T, line string) string {
	t.Helper()
	for _, k := range lineKinds() {
		pattern := regexp.MustCompile(`\bNUM\b`).ReplaceAllLiteralString(k.pattern, num) // not the NUM of NUMA
		if regexp.MustCompile(pattern).MatchString(line) {
			return k.kind
		}
	}
	t.Errorf("line %q: got no pattern that matches; want one", line)
	return ""
}

func TestEachLineIsOneThatReadersKnow(t *testing.T) {
	for _, args := range [][]string{
		{"--num_batches=4", "--display_every=2", "--batch_size=2", "--num_gpus=2"},
		{"--num_batches=4", "--display_every=2", "--batch_size=2", "--variable_update=replicated", "--print_training_accuracy"},
		{"--num_batches=4", "--display_every=2", "--learning_rate=1e30", "--loss_type_to_report=base_loss"},
	} {
		code, stdout, stderr := runMain(t, args...)
		if code != 0 || stderr != "" {
			t.Fatalf("%v: got code %d, stderr %q; want 0 and nothing", args, code, stderr)
		}
		count := map[string]int{}
		for line := range strings.Lines(stdout) {
			count[kindOf(t, strings.TrimSuffix(line, "\n"))]++
		}
		keys := 12
		if count["key"] == 13 {
			keys = 13 // AllReduce
		}
		want := map[string]int{"step": 3, "total": 1, "header": 1, "batch": 1, "per device": 1, "key": keys, "text": 7}
		if diff := cmp.Diff(want, count); diff != "" {
			t.Errorf("%v: kinds of lines (-want +got):\n%s", args, diff)
		}
	}
}

func TestLossThatIsNoNumberIsPrintedAndNoFailure(t *testing.T) {
	code, stdout, _ := runMain(t, "--model=alexnet", "--batch_size=2", "--num_batches=3", "--display_every=1", "--learning_rate=1e30")
	if code != 0 || !strings.Contains(stdout, ")\tnan\n") || !strings.Contains(stdout, "total images/sec: ") {
		t.Errorf("got code %d and\n%s\nwant 0, a loss of nan and a total", code, stdout)
	}
}

func TestStopBetweenStepsGivesNoTotal(t *testing.T) {
	tests := map[string]struct {
		cause  error
		after  string // the line on which to stop
		code   int
		stderr string
	}{
		"terminated in the timed steps": {Stopped{syscall.SIGTERM}, "1\timages", 143, "cnnbench: stopped by signal: terminated\n"},
		"interrupted in warm-up":        {Stopped{syscall.SIGINT}, "Running warm up", 130, "cnnbench: stopped by signal: interrupt\n"},
		"ended by the caller":           {errors.New("enough"), "Done warm up", 130, "cnnbench: enough\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			var stdout strings.Builder
			var stderr bytes.Buffer
			w := writerFunc(func(b []byte) (int, error) {
				if strings.HasPrefix(string(b), tt.after) {
					cancel(tt.cause)
				}
				return stdout.Write(b)
			})
			code := Main(ctx, []string{"--batch_size=1", "--num_batches=1000000"}, w, &stderr)
			if code != tt.code || stderr.String() != tt.stderr {
				t.Errorf("got code %d, stderr %q; want %d, %q", code, stderr.String(), tt.code, tt.stderr)
			}
			if !strings.Contains(stdout.String(), tt.after) || strings.Contains(stdout.String(), "total images/sec") {
				t.Errorf("stdout: got\n%s\nwant it to end soon after %q", stdout.String(), tt.after)
			}
		})
	}
}

type writerFunc func(b []byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestSignalEndsTheContextWithItsNumber(t *testing.T) {
	ctx, stop := WithSignals(t.Context())
	defer stop()
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	if got := context.Cause(ctx); !errors.Is(got, Stopped{syscall.SIGTERM}) {
		t.Errorf("cause: got %v; want a termination", got)
	}
}

func TestResultsGoOutLineByLine(t *testing.T) {
	var writes []string
	w := writerFunc(func(b []byte) (int, error) {
		writes = append(writes, string(b))
		return len(b), nil
	})
	if code := Main(t.Context(), []string{"--batch_size=1", "--num_batches=2"}, w, os.Stderr); code != 0 {
		t.Fatalf("code: got %d; want 0", code)
	}
	for _, s := range writes {
		if strings.Count(s, "\n") != 1 || !strings.HasSuffix(s, "\n") {
			t.Errorf("write: got %q; want one line", s)
		}
	}
}

func TestStdoutThatIsGoneIsAFailure(t *testing.T) {
	for _, last := range []string{"TensorFlow", "Initializing", "Done", "1\timages", "----"} {
		var stderr bytes.Buffer
		w := writerFunc(func(b []byte) (int, error) {
			if strings.HasPrefix(string(b), last) {
				return 0, syscall.EPIPE
			}
			return len(b), nil
		})
		code := Main(t.Context(), []string{"--batch_size=1", "--num_batches=2"}, w, &stderr)
		if want := "cnnbench: stdout: result cannot be written: broken pipe\n"; code != 1 || stderr.String() != want {
			t.Errorf("stdout gone at %s: got code %d, stderr %q; want 1, %q", last, code, stderr.String(), want)
		}
	}
}

func TestThreadsAreAsGivenDuringTheRunOnly(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	during := 0
	w := writerFunc(func(b []byte) (int, error) {
		during = runtime.GOMAXPROCS(0)
		return len(b), nil
	})
	if code := Main(t.Context(), []string{"--batch_size=1", "--num_batches=1", "--num_intra_threads=3"}, w, os.Stderr); code != 0 {
		t.Fatalf("code: got %d; want 0", code)
	}
	if after := runtime.GOMAXPROCS(0); during != 3 || after != before {
		t.Errorf("GOMAXPROCS: got %d during, %d after; want 3, %d", during, after, before)
	}
}

func TestDefaultsAreUpstreamsOrTheModels(t *testing.T) {
	for model, batch := range map[string]int{"alexnet": 512, "inception3": 32, "resnet50": 64, "lenet": 32, "trivial": 32} {
		o, complaints, _ := parse([]string{"--model", model})
		if len(complaints) > 0 || o.batchSize != batch || o.steps(1000) != 100 || o.warmup != 10 || o.displayEvery != 10 || o.devices != 1 {
			t.Errorf("%s: got %+v, %v; want batch size %d and upstream's defaults", model, o, complaints, batch)
		}
	}
}

func TestEpochsAreRoundedUpToSteps(t *testing.T) {
	o := &options{batchSize: 8, devices: 2, numEpochs: 1.5}
	if got := o.steps(40); got != 4 { // 60 pictures of 16 a step
		t.Errorf("steps: got %d; want 4", got)
	}
	if got := (&options{batchSize: 8, devices: 2, numEpochs: 0.001}).steps(40); got != 1 {
		t.Errorf("steps of a small part of an epoch: got %d; want 1", got)
	}
}

func TestHelpNamesEachModel(t *testing.T) {
	code, stdout, stderr := runMain(t, "--help")
	if code != 0 || stderr != "" || !strings.Contains(stdout, nn.Names()) || !strings.Contains(stdout, "-variable_update") {
		t.Errorf("help: got code %d, stderr %q, stdout\n%s\nwant 0 and all flags", code, stderr, stdout)
	}
}
