package parse

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
)

var update = flag.Bool("update", false, "rewrite goldens")

// TestGoldens reads the output of each case. Its comment says what it is about; the file "cell"
// has a line for each role, "name finish --flag=value ...", and lines "pattern METRIC REGEXP" and
// "axis NAME=VALUE"; the files "<role>-<index>" are what the processes printed.
func TestGoldens(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			tr, kept := caseOf(t, ar)
			got := readingText(Read(tr))
			if *update {
				kept.Files = append(kept.Files, txtar.File{Name: "out/reading", Data: []byte(got)})
				if err := os.WriteFile(file, txtar.Format(kept), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want := ""
			for _, f := range ar.Files {
				if f.Name == "out/reading" {
					want = string(f.Data)
				}
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-want +got); run with -update after reading it:\n%s", d)
			}
		})
	}
}

// caseOf unpacks a case; kept is the archive without its outputs.
func caseOf(t *testing.T, ar *txtar.Archive) (tr *Trial, kept *txtar.Archive) {
	t.Helper()
	tr = &Trial{Dir: t.TempDir(), Workload: &plan.Workload{Parser: "tf_cnn_benchmarks"}, Cell: &plan.Cell{}}
	kept = &txtar.Archive{Comment: ar.Comment}
	for _, f := range ar.Files {
		if strings.HasPrefix(f.Name, "out/") {
			continue
		}
		kept.Files = append(kept.Files, f)
		if f.Name == "cell" {
			parseCell(tr, string(f.Data))
			continue
		}
		role, index, _ := strings.Cut(f.Name, "-")
		name := "logs/" + f.Name + "/stdout"
		path := filepath.Join(tr.Dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		data := bytes.ReplaceAll(f.Data, []byte(`\r`), []byte("\r"))
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		p := journal.Proc{Role: role, Files: []journal.FileSum{{Name: name}}, Exit: backends.Exit{Elapsed: time.Duration(len(f.Data)) * time.Second}}
		fmt.Sscan(index, &p.Index)
		tr.Procs = append(tr.Procs, p)
	}
	return tr, kept
}

func parseCell(tr *Trial, text string) {
	for line := range strings.Lines(text) {
		w := strings.Fields(line)
		switch {
		case len(w) < 2:
		case w[0] == "pattern":
			tr.Workload.Parser = "pattern"
			tr.Workload.Patterns = append(tr.Workload.Patterns, plan.Pattern{Metric: w[1], Line: strings.Join(w[2:], " ")})
		case w[0] == "axis":
			name, value, _ := strings.Cut(w[1], "=")
			tr.Cell.Axes = append(tr.Cell.Axes, plan.Setting{Name: name, Value: value})
		default:
			r := plan.Role{Name: w[0], Finish: w[1]}
			for _, a := range w[2:] {
				r.Args = append(r.Args, plan.Arg{Text: a})
			}
			tr.Cell.Roles = append(tr.Cell.Roles, r)
		}
	}
}

func readingText(r Reading, err error) string {
	var b strings.Builder
	if err != nil {
		fmt.Fprintf(&b, "error: %v\n", err)
	}
	if r.Invalid != "" {
		fmt.Fprintf(&b, "invalid: %s\n", r.Invalid)
	}
	for _, w := range r.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	if err == nil {
		for _, o := range r.Observations {
			fmt.Fprintf(&b, "%s %v %s, %s-%d %s:%d (%s)\n", o.Metric, o.Value, o.Unit, o.Role, o.Index, o.File, o.Line, o.How)
		}
	}
	return b.String()
}

func TestTheRateBetweenTwoLinesIsRecoveredFromCumulativeMeans(t *testing.T) {
	for _, c := range []struct {
		name     string
		from, to StepLine
		want     float64
		ok       bool
	}{
		// 10 steps of 32 images at 120, then 10 at 72: the mean over both is 90.
		{"a slower half", StepLine{Step: 10, Mean: 120}, StepLine{Step: 20, Mean: 90}, 72, true},
		{"a steady run", StepLine{Step: 10, Mean: 50}, StepLine{Step: 30, Mean: 50}, 50, true},
		{"the same line", StepLine{Step: 10, Mean: 50}, StepLine{Step: 10, Mean: 50}, 0, false},
		{"a mean that is no number", StepLine{Step: 10, Mean: math.NaN()}, StepLine{Step: 20, Mean: 50}, 0, false},
		{"a mean of 0", StepLine{Step: 10}, StepLine{Step: 20, Mean: 50}, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := Interval(32, c.from, c.to)
			if ok != c.ok || math.Abs(got-c.want) > 1e-9 {
				t.Errorf("got %v, %v; want %v, %v", got, ok, c.want, c.ok)
			}
		})
	}
}

func TestALineThatIsTooLongIsSkippedAndCounted(t *testing.T) {
	in := strings.Repeat("x", maxLineBytes+1) + "\ntotal images/sec: 5.00\n"
	l, err := ReadTFCNN(strings.NewReader(in))
	if err != nil || l.Skipped != 1 || len(l.Totals) != 1 || l.Totals[0].Line != 2 {
		t.Errorf("got %+v, %v; want one line skipped and the total in line 2", l, err)
	}
}

func TestAnUnknownParserIsAnError(t *testing.T) {
	if _, err := Read(&Trial{Workload: &plan.Workload{Parser: "nosuch"}}); err == nil || !strings.Contains(err.Error(), `parser "nosuch": unknown`) {
		t.Errorf("got %v", err)
	}
}

func TestElapsedIsOfTheLongestProcessThatExits(t *testing.T) {
	cell := &plan.Cell{Roles: []plan.Role{{Name: "ps", Finish: plan.Stopped}, {Name: "worker", Finish: plan.Exits}}}
	proc := func(role string, index int, took time.Duration) journal.Proc {
		return journal.Proc{Role: role, Index: index, Exit: backends.Exit{Elapsed: took}}
	}
	for _, c := range []struct {
		name  string
		procs []journal.Proc
		want  []journal.Observation
	}{
		{"no process", nil, nil},
		{"a server alone has none", []journal.Proc{proc("ps", 0, time.Hour)}, nil},
		{"a process of a role that the cell lacks has none", []journal.Proc{proc("other", 0, time.Hour)}, nil},
		{
			"the server's time is not the trial's",
			[]journal.Proc{proc("ps", 0, time.Hour), proc("worker", 0, 90*time.Second), proc("worker", 1, 91500*time.Millisecond), proc("worker", 2, time.Second)},
			[]journal.Observation{{Metric: Elapsed, Value: 91.5, Unit: "s", Role: "worker", Index: 1, How: "clock of the machine, around the process"}},
		},
		{
			"of two that took equally long the first is named",
			[]journal.Proc{proc("worker", 1, time.Second), proc("worker", 0, time.Second)},
			[]journal.Observation{{Metric: Elapsed, Value: 1, Unit: "s", Role: "worker", Index: 1, How: "clock of the machine, around the process"}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, elapsed(&Trial{Cell: cell, Procs: c.procs})); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestLinesAreHandedOnWhole(t *testing.T) {
	type line struct{ N, Len int }
	const buffer = 64 << 10
	x := func(n int) string { return strings.Repeat("x", n) }
	for _, c := range []struct {
		name    string
		in      string
		want    []line
		skipped int
	}{
		{"no line", "", nil, 0},
		{"an empty line is a line", "\n\r\n", []line{{1, 0}, {2, 0}}, 0},
		{"the last line may lack its end", "a\nbc", []line{{1, 1}, {2, 2}}, 0},
		{"the last line fills the buffer and lacks its end", x(buffer), []line{{1, buffer}}, 0},
		{"the last line fills the buffer twice and lacks its end", "a\n" + x(2*buffer), []line{{1, 1}, {2, 2 * buffer}}, 0},
		{"the longest line that is read", x(maxLineBytes) + "\nb\n", []line{{1, maxLineBytes}, {2, 1}}, 0},
		{"one byte more is skipped, and the next line keeps its number", x(maxLineBytes+1) + "\nb\n", []line{{2, 1}}, 1},
		{"a last line that is too long and lacks its end", "a\n" + x(maxLineBytes+buffer), []line{{1, 1}}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []line
			skipped, err := lines(strings.NewReader(c.in), func(n int, s string) { got = append(got, line{n, len(s)}) })
			if err != nil || skipped != c.skipped {
				t.Errorf("got %d skipped, %v; want %d", skipped, err, c.skipped)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestAnErrorInTheMiddleOfTheOutputIsTheReadersError(t *testing.T) {
	broken := errors.New("broken disk")
	l, err := ReadTFCNN(io.MultiReader(strings.NewReader("total images/sec: 5.00\n"), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) {
		t.Errorf("got %+v, %v; want %v", l, err, broken)
	}
}

func TestOutputThatDidNotComeHomeIsNotFound(t *testing.T) {
	for _, parser := range []string{"tf_cnn_benchmarks", "pattern"} {
		t.Run(parser, func(t *testing.T) {
			_, err := Read(&Trial{
				Dir:      t.TempDir(),
				Workload: &plan.Workload{Parser: parser, Patterns: []plan.Pattern{{Metric: "rate", Line: "(?P<v>.)"}}},
				Cell:     &plan.Cell{Roles: []plan.Role{{Name: "worker", Finish: plan.Exits}}},
				Procs:    []journal.Proc{{Role: "worker", Index: 3, Files: []journal.FileSum{{Name: "logs/worker-3/stderr"}}}},
			})
			if !errors.Is(err, backends.ErrNotFound) || !strings.Contains(err.Error(), "worker-3: stdout") {
				t.Errorf("got %v; want an error that is %v and names worker-3: stdout", err, backends.ErrNotFound)
			}
		})
	}
}

func TestALineIsKeptCutAndInUTF8(t *testing.T) {
	if got := cut(strings.Repeat("ä", textCut)); got != strings.Repeat("ä", textCut/2) {
		t.Errorf("got %q", got)
	}
	if got := cut("x" + strings.Repeat("ä", textCut)); got != "x"+strings.Repeat("ä", textCut/2-1)+"?" {
		t.Errorf("got %q; want half a letter as ?", got)
	}
}

func TestALongLineIsADoubt(t *testing.T) {
	if got := (&Log{Skipped: 2}).doubts(); len(got) != 1 || !strings.HasPrefix(got[0], "2 lines of output were longer than 1 MiB") {
		t.Errorf("got %q", got)
	}
}

// goldenOutputs hands each output in the goldens to add.
func goldenOutputs(f *testing.F, add func(out string)) {
	f.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, a := range ar.Files {
			if a.Name != "cell" && !strings.HasPrefix(a.Name, "out/") {
				add(strings.ReplaceAll(string(a.Data), `\r`, "\r"))
			}
		}
	}
}

func FuzzReadTFCNN(f *testing.F) {
	goldenOutputs(f, func(out string) { f.Add(out) })
	f.Add("1\timages/sec: 5157.3 +/- 0.0 (jitter = 0.0)\t4.671\ntotal images/sec: 4833.87\n")
	f.Add("Batch size:  64 global\n             32.0 per device\nModel:  x\r\n")
	f.Add("total images/sec: nan\n")
	f.Add("total images/sec: " + strings.Repeat("9", 400) + ".00\n")
	f.Fuzz(func(t *testing.T, in string) {
		l, err := ReadTFCNN(strings.NewReader(in))
		if err != nil {
			t.Fatal(err)
		}
		_ = l.doubts()
		if l.complete() != nil {
			return
		}
		if len(l.Totals) != 1 || math.IsNaN(l.Totals[0].Value) || l.Totals[0].Value <= 0 {
			t.Fatalf("complete, with totals %v", l.Totals)
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "stdout"), []byte(in), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := Read(&Trial{
			Dir: dir, Workload: &plan.Workload{Parser: "tf_cnn_benchmarks"},
			Cell:  &plan.Cell{Roles: []plan.Role{{Name: "worker", Finish: plan.Exits, Args: []plan.Arg{{Text: "--batch_size=32"}}}}},
			Procs: []journal.Proc{{Role: "worker", Files: []journal.FileSum{{Name: "stdout"}}}},
		})
		if err != nil || len(r.Observations) < 2 || r.Observations[0].Metric != "throughput" {
			t.Fatalf("got %+v, %v; want the throughput first", r, err)
		}
		for _, o := range r.Observations {
			if math.IsNaN(o.Value) || math.IsInf(o.Value, 0) {
				t.Fatalf("got %+v; want finite numbers", o)
			}
		}
	})
}

func FuzzPattern(f *testing.F) {
	goldenOutputs(f, func(out string) { f.Add(out, `^total images/sec: (?P<v>\S+)$`) })
	f.Add("rate 12.5\n", `^rate (?P<v>\S+)$`)
	f.Add("rate nan\n", `(?P<v>.*)`)
	f.Add("", `(`)
	f.Fuzz(func(t *testing.T, out, pattern string) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "stdout"), []byte(out), 0o600); err != nil {
			t.Fatal(err)
		}
		tr := &Trial{Dir: dir}
		o, _, err := tr.lastMatch(&journal.Proc{Files: []journal.FileSum{{Name: "x/../stdout"}}}, plan.Pattern{Metric: "m", Line: pattern})
		if err == nil && (math.IsNaN(o.Value) || math.IsInf(o.Value, 0) || o.Line < 1) {
			t.Fatalf("got %+v", o)
		}
	})
}

func TestALineThatAPatternCouldNotSeeIsADoubt(t *testing.T) {
	dir := t.TempDir()
	out := "rate 1\nrate 2 " + strings.Repeat("x", maxLineBytes) + "\n"
	if err := os.WriteFile(filepath.Join(dir, "stdout"), []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Read(&Trial{
		Dir: dir, Workload: &plan.Workload{Parser: "pattern", Patterns: []plan.Pattern{{Metric: "rate", Line: `^rate (?P<v>\d+)`}}},
		Cell:  &plan.Cell{Roles: []plan.Role{{Name: "w", Finish: plan.Exits}}},
		Procs: []journal.Proc{{Role: "w", Files: []journal.FileSum{{Name: "x/../stdout"}}}},
	})
	if err != nil || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "1 lines of output were longer than 1 MiB") {
		t.Errorf("got %+v, %v; want a doubt about the line that was not read", r, err)
	}
}
