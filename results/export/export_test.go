package export

import (
	"bytes"
	"encoding/csv"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/xuri/excelize/v2"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
	"dlx.dev/dlx/results"
)

var update = flag.Bool("update", false, "rewrite goldens")

// hostile is text that a spreadsheet must never calculate.
const hostile = `=HYPERLINK("http://x","y")`

// testRun is 2 models on bm and vm, 6 repeats each: one trial failed, one was never tried, one
// cell is excluded, and some text is hostile.
func testRun() *results.Run {
	p := &plan.Plan{
		Format: 1, Study: "tiny", Title: hostile, Testbed: "lab", Caveat: plan.Sandbox, Repeats: 6,
		Axes: []plan.Axis{
			{Name: "model", Values: []string{"resnet50", "alexnet"}},
			{Name: "orchestration", Values: []string{"bm", "vm", "container-on-vm"}},
		},
		Blocks:   []string{"one"},
		Metrics:  []plan.Metric{{Name: "elapsed", Unit: "s", Kind: "cost", Better: "lower"}, {Name: "throughput", Unit: "images/s", Kind: "rate", Better: "higher"}},
		Fleets:   []plan.Fleet{{Name: "bm-1", Orchestration: "bm", Machines: []plan.Machine{{Name: "m0"}}}, {Name: "vm-1", Orchestration: "vm", Machines: []plan.Machine{{Name: "m0"}}}},
		Workload: plan.Workload{Kind: "command", Parser: "pattern"},
		Excluded: []plan.Excluded{{Cell: "one/model=alexnet,orchestration=container-on-vm", Reason: "+does not boot"}},
		Warnings: []string{"a warning of method"},
		Figures: []plan.Figure{
			{Name: "abs", Metric: "elapsed", Rows: []string{"model"}, Columns: "orchestration", As: plan.Absolute},
			{Name: "rel", Title: "Relative", Metric: "throughput", Rows: []string{"model"}, Columns: "orchestration", As: plan.Ratio, Baseline: []plan.Setting{{Name: "orchestration", Value: "bm"}}},
		},
	}
	for _, m := range []string{"alexnet", "resnet50"} {
		for i, o := range []string{"bm", "vm"} {
			p.Cells = append(p.Cells, plan.Cell{
				Name: "one/model=" + m + ",orchestration=" + o, Key: "key-" + m + o, Block: "one", Fleet: i,
				Axes:  []plan.Setting{{Name: "model", Value: m}, {Name: "orchestration", Value: o}},
				Roles: []plan.Role{{Name: "worker", Args: []plan.Arg{{Text: "@run"}, {Text: "--ps=", Late: &plan.Late{Role: "ps"}}}, Machines: []int{0}, Finish: "exits"}},
			})
		}
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := &results.Run{ID: "tiny-1", Plan: p, Digest: "sha256:1", Version: "v1", Started: at, Ended: at.Add(time.Hour), Left: []string{"server x"}}
	for c := range p.Cells {
		for n := 1; n <= p.Repeats; n++ {
			r.Trials = append(r.Trials, testTrial(p, c, n))
		}
	}
	return r
}

func testTrial(p *plan.Plan, c, n int) results.Trial {
	t := results.Trial{Cell: c, Repeat: n, Attempts: 1, State: journal.Done}
	switch {
	case c == 3 && n == 5:
		t.State, t.Class, t.Error = journal.Failed, "workload", "-worker-0: exit code 3"
		return t
	case c == 3 && n == 6:
		t.State, t.Attempts = "", 0
		return t
	}
	file := "logs/" + plan.TrialID(p.Cells[c].Name, n) + "/worker-0/stdout"
	t.Procs = []journal.Proc{{Role: "worker", Machine: "m0", Files: []journal.FileSum{{Name: file, Size: 12, SHA256: "ab"}}, Exit: backends.Exit{}}}
	t.Machines = []journal.MachineFact{{Name: "m0", Host: "host1", Facts: map[string]string{"flavor": "m1", "image": "=img"}}}
	t.Spans = []journal.Span{{Name: "run", Took: 1500 * time.Millisecond}}
	v := 100*float64(c+1) + 0.1*float64(n*n)
	t.Obs = []journal.Observation{
		{Metric: "throughput", Value: v, Unit: "images/s", Role: "worker", File: file, Line: 7, Text: hostile, How: "last match"},
		{Metric: "elapsed", Value: 1000 / v, Unit: "s", Role: "worker"},
	}
	if n == 2 {
		t.Warnings = []string{"a doubt"}
	}
	return t
}

func export(t testing.TB, dir string) []string {
	t.Helper()
	files, err := All(dir, results.Tabulate(testRun()))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestFilesAreWhatTheGoldensSay(t *testing.T) {
	dir := t.TempDir()
	got := &txtar.Archive{Comment: []byte("All files of the test's book; the workbook as sheet!cell = formula -> value.\n\n")}
	for _, f := range export(t, dir) {
		name := filepath.Base(f)
		if filepath.Ext(name) == ".xlsx" {
			got.Files = append(got.Files, txtar.File{Name: name, Data: []byte(cellsOf(t, f))})
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		got.Files = append(got.Files, txtar.File{Name: name, Data: b})
	}
	const golden = "testdata/book.txtar"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, txtar.Format(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(txtar.Format(got))); d != "" {
		t.Errorf("(-want +got); run with -update after reading it:\n%s", d)
	}
}

// cellsOf lists the cells of a workbook that are not empty.
func cellsOf(t *testing.T, file string) string {
	t.Helper()
	f, err := excelize.OpenFile(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b strings.Builder
	for _, sheet := range f.GetSheetList() {
		rows, err := f.GetRows(sheet, excelize.Options{RawCellValue: true})
		if err != nil {
			t.Fatal(err)
		}
		for r, row := range rows {
			for c, v := range row {
				name, _ := excelize.CoordinatesToCellName(c+1, r+1)
				formula, err := f.GetCellFormula(sheet, name)
				if err != nil {
					t.Fatal(err)
				}
				if formula != "" {
					v = "=" + formula + " -> " + v
				}
				if v != "" {
					fmt.Fprintf(&b, "%s!%s = %s\n", sheet, name, v)
				}
			}
		}
	}
	return b.String()
}

func TestTheSameBookHasTheSameBytes(t *testing.T) {
	var want []byte
	for range 20 {
		dir := t.TempDir()
		export(t, dir)
		b, err := os.ReadFile(filepath.Join(dir, "tiny.xlsx"))
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = b
		}
		if !bytes.Equal(want, b) {
			t.Fatal("two workbooks of one book differ")
		}
	}
}

func TestTextIsNeverAFormula(t *testing.T) {
	dir := t.TempDir()
	export(t, dir)
	f, err := excelize.OpenFile(filepath.Join(dir, "tiny.xlsx"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, sheet := range f.GetSheetList() {
		rows, err := f.GetRows(sheet)
		if err != nil {
			t.Fatal(err)
		}
		for r, row := range rows {
			for c := range row {
				name, _ := excelize.CoordinatesToCellName(c+1, r+1)
				formula, _ := f.GetCellFormula(sheet, name)
				if formula != "" && !ours.MatchString(formula) {
					t.Errorf("%s!%s: formula %q", sheet, name, formula)
				}
			}
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "observations.csv"))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(b)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		for _, field := range row {
			if field != "" && strings.ContainsRune("=+@\t\r", rune(field[0])) {
				t.Errorf("field %q would be calculated", field)
			}
		}
	}
}

// ours are the formulas that a workbook may hold.
var ours = regexp.MustCompile(`^(MEDIAN\(Raw!\$[A-Z]+\$\d+:\$[A-Z]+\$\d+\)|[A-Z]+\d+[/-][A-Z]+\d+|'[^']+'![A-Z]+\d+|HYPERLINK\("(\.\./logs/|#)([^"]|"")*","([^"]|"")*"\))$`)

func FuzzCSVField(f *testing.F) {
	for _, s := range []string{"", "a,b", "=1+1", "-x", "\"", "\n", " x", "é\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		line := append(appendField(nil, s), ",end\n"...)
		rows, err := csv.NewReader(bytes.NewReader(line)).ReadAll()
		if err != nil || len(rows) != 1 || len(rows[0]) != 2 {
			t.Fatalf("%q is written as %q, which reads as %q: %v", s, line, rows, err)
		}
		if v := rows[0][0]; v != "" && strings.IndexByte(guarded, v[0]) >= 0 {
			t.Fatalf("%q is written as %q, which a spreadsheet calculates", s, line)
		}
	})
}

// BenchmarkBook writes a book of 10,000 observations; tabulating is not part of it.
func BenchmarkBook(b *testing.B) {
	r := testRun()
	r.Plan.Repeats = 1250
	r.Trials = nil
	for c := range r.Plan.Cells {
		for n := 1; n <= r.Plan.Repeats; n++ {
			r.Trials = append(r.Trials, testTrial(r.Plan, c, n))
		}
	}
	dir, book := b.TempDir(), results.Tabulate(r)
	for b.Loop() {
		if _, err := All(dir, book); err != nil {
			b.Fatal(err)
		}
	}
}
