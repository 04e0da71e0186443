package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dlx.dev/dlx/backends/sandbox"
	"dlx.dev/dlx/executor/journal"
)

// killStudy notes every start of its program in a file, so that a trial that ran twice shows. (A
// container cannot: it sees the file system of this computer, and may not write to it.)
const killStudy = `package tiny

import "dlx.dev/dlx"

study: dlx.#Study & {
	name: "tiny"
	axes: {n: [1, 2, 3], orchestration: ["bm", "vm", "container-on-vm"]}
	repeats: 2
	workload: dlx.#Command & {
		program: ["sh", "-c", "(echo x >> '\(_work)/starts-{n}-{orchestration}') 2>/dev/null; sleep 0.2; echo rate {n}"]
		patterns: throughput: "^rate (?P<v>[0-9]+)$"
	}
	metrics: throughput: dlx.#Throughput
}
_work: string @tag(work)
`

// dlx starts this program as the command.
func dlx(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Args = append([]string{"dlx"}, args...)
	cmd.Dir = dir
	return cmd
}

// TestAKilledRunIsContinuedByTheSameCommand kills dlx without warning at several moments of a
// run, and the run that continues it as well. In the end every trial counts, none ran twice, and
// nothing is left.
func TestAKilledRunIsContinuedByTheSameCommand(t *testing.T) {
	work := t.TempDir()
	study := writeStudy(t, killStudy)
	args := []string{"run", "--progress", "plain", "-t", "work=" + work, "--dir", "run", study}
	for _, lines := range []int{1, 2, 3, 2, 4, 5, 2, 3, 6, 4} {
		killAfter(t, dlx(t, work, args...), lines)
	}
	out, err := dlx(t, work, args...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "18 trials: 18 done") {
		t.Fatalf("the last run: %v\n%s", err, out)
	}
	for n := 1; n <= 3; n++ {
		for _, o := range []string{"bm", "vm"} {
			b, err := os.ReadFile(filepath.Join(work, fmt.Sprintf("starts-%d-%s", n, o)))
			if err != nil || len(b) != len("x\n")*2 {
				t.Errorf("n=%d on %s: its 2 trials were started %d times (%v)", n, o, len(b)/2, err)
			}
		}
	}
	observedOnce(t, filepath.Join(work, "run", "journal.jsonl"), 18)
	if _, err := os.Stat(filepath.Join(work, "run", "state")); err == nil {
		t.Error("the sandbox left files in its state folder")
	}
	nothingRuns(t, work)
}

// TestGCRemovesWhatAKilledRunLeft kills runs at several moments and removes what they left by
// their folder; then the run goes on from where it was.
func TestGCRemovesWhatAKilledRunLeft(t *testing.T) {
	work := t.TempDir()
	study := writeStudy(t, killStudy)
	args := []string{"run", "--progress", "plain", "-t", "work=" + work, "--dir", "run", study}
	for _, lines := range []int{1, 5, 8, 14} {
		killAfter(t, dlx(t, work, args...), lines)
		if out, err := dlx(t, work, "gc", "--dry-run", "run").CombinedOutput(); err != nil || lines > 4 && !strings.Contains(string(out), "would be released") {
			t.Errorf("dry run after %d lines: %v\n%s", lines, err, out)
		}
		out, err := dlx(t, work, "gc", "run").CombinedOutput()
		if err != nil || lines > 4 && !strings.Contains(string(out), "released") {
			t.Errorf("after %d lines: %v\n%s", lines, err, out)
		}
		if _, err := os.Stat(filepath.Join(work, "run", "state")); err == nil {
			t.Errorf("after %d lines the sandbox left files in its state folder", lines)
		}
		noGroups(t, filepath.Join(work, "run", "state", "local"))
		nothingRuns(t, work)
		if out, err := dlx(t, work, "status", "run").CombinedOutput(); err != nil || strings.Contains(string(out), "may still exist") {
			t.Errorf("status: %v\n%s", err, out)
		}
		if out, err := dlx(t, work, "gc", "run").CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "nothing is left of run tiny-") {
			t.Errorf("a second time: %v\n%s", err, out)
		}
	}
	if out, err := dlx(t, work, args...).CombinedOutput(); err != nil || !strings.Contains(string(out), "18 trials: 18 done") {
		t.Fatalf("the last run: %v\n%s", err, out)
	}
	observedOnce(t, filepath.Join(work, "run", "journal.jsonl"), 18)
}

// noGroups looks for control groups of a sandbox with its state in a folder, which is not there.
func noGroups(t *testing.T, state string) {
	t.Helper()
	s, err := sandbox.Start(t.Context(), sandbox.Config{State: state})
	if err != nil {
		t.Fatal(err)
	}
	if left := s.Groups(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if err := errors.Join(s.Close(), os.Remove(state), os.Remove(filepath.Dir(state))); err != nil {
		t.Error(err)
	}
}

// killAfter kills a run when it has printed some lines of progress.
func killAfter(t *testing.T, cmd *exec.Cmd, lines int) {
	t.Helper()
	r, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := bufio.NewScanner(r)
	for range lines {
		s.Scan()
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, r)
	_ = cmd.Wait()
}

func observedOnce(t *testing.T, path string, want int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seen := map[string]int{}
	h := journal.NewHistory()
	if _, err := journal.Read(f, func(ev journal.Event) error {
		if ev.Kind == journal.Observed {
			seen[ev.Step]++
		}
		return h.Fold(ev)
	}); err != nil {
		t.Fatal(err)
	}
	if len(seen) != want {
		t.Errorf("%d trials were observed; want %d", len(seen), want)
	}
	for step, n := range seen {
		if n != 1 {
			t.Errorf("%s was observed %d times", step, n)
		}
	}
	if o := h.Owned(); len(o) > 0 {
		t.Errorf("the ledger still knows of %v", o)
	}
}

// nothingRuns looks for processes of the sandbox's machines, whose homes lie below dir.
func nothingRuns(t *testing.T, dir string) {
	t.Helper()
	envs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range envs {
		if filepath.Base(filepath.Dir(e)) == fmt.Sprint(os.Getpid()) {
			continue
		}
		if b, err := os.ReadFile(e); err == nil && strings.Contains(string(b), "HOME="+dir) {
			t.Errorf("still running: %s", e)
		}
	}
}

// killing is a run on a real cloud that is killed.
type killing struct {
	bin     string
	args    []string // without the run folder
	trials  int
	seconds int             // moments are within so many of a start
	objects func() []string // all that the cloud holds
}

// survivesKills kills dlx at random moments of runs, as many as DLX_TEST_KILLS says (3 if it says nothing).
// After each the same command goes on, in half of the cases after "dlx gc". In the end every trial counts, none
// twice, and the cloud holds what it held before.
func survivesKills(t *testing.T, k killing) {
	t.Helper()
	kills := 3
	if n, err := strconv.Atoi(os.Getenv("DLX_TEST_KILLS")); err == nil {
		kills = n
	}
	before := k.objects()
	seed := uint64(time.Now().UnixNano())
	t.Logf("moments from seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 0))
	for run, left := 0, kills; left > 0 || run == 0; run++ {
		dir := filepath.Join(t.TempDir(), "run")
		args := append(slices.Clone(k.args), "--dir", dir)
		for left > 0 && killedAt(t, exec.CommandContext(t.Context(), k.bin, args...), time.Duration(dice.IntN(1000*k.seconds))*time.Millisecond) {
			left--
			if _, err := os.Stat(filepath.Join(dir, "plan.json")); err != nil || dice.IntN(2) == 0 {
				continue // a folder without a plan is no run yet
			}
			if out, err := exec.CommandContext(t.Context(), k.bin, "gc", dir).CombinedOutput(); err != nil {
				t.Fatalf("run %d: gc: %v\n%s", run, err, out)
			}
			sameObjects(t, before, k.objects())
		}
		out, err := exec.CommandContext(t.Context(), k.bin, args...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), fmt.Sprintf("%d trials: %[1]d done", k.trials)) {
			t.Fatalf("run %d: %v\n%s", run, err, out)
		}
		observedOnce(t, filepath.Join(dir, "journal.jsonl"), k.trials)
		sameObjects(t, before, k.objects())
		if t.Failed() {
			t.FailNow()
		}
	}
}

// killedAt starts a command and kills it when it has run so long; false: it ended before.
func killedAt(t *testing.T, cmd *exec.Cmd, moment time.Duration) bool {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-ended:
		return false
	case <-time.After(moment):
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-ended
		return true
	}
}

// sameObjects compares what a cloud held before with what it holds.
func sameObjects(t *testing.T, before, after []string) {
	t.Helper()
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the cloud has changed (-before +after):\n%s", diff)
	}
}
