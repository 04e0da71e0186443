package results

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
)

// bars makes a run of models a and b on bm and vm, with the values of the metric "rate" by cell;
// a value of 0 is a failed trial, a negative one a trial that was never tried.
func bars(values map[string][]float64, baseline bool) *Run {
	p := &plan.Plan{
		Repeats: 3,
		Axes:    []plan.Axis{{Name: "model", Values: []string{"b", "a"}}, {Name: "o", Values: []string{"vm", "bm"}}},
		Metrics: []plan.Metric{{Name: "rate", Unit: "1/s", Kind: "rate", Better: "higher"}},
		Figures: []plan.Figure{{Name: "f", Metric: "rate", Rows: []string{"model"}, Columns: "o", As: plan.Absolute}},
	}
	if baseline {
		p.Figures[0].Baseline = []plan.Setting{{Name: "o", Value: "bm"}}
	}
	r := &Run{Plan: p}
	for _, m := range []string{"a", "b"} {
		for _, o := range []string{"bm", "vm"} {
			v, ok := values[m+o]
			if !ok {
				continue
			}
			p.Cells = append(p.Cells, plan.Cell{
				Name: "one/model=" + m + ",o=" + o, Block: "one", Axes: []plan.Setting{{Name: "model", Value: m}, {Name: "o", Value: o}},
			})
			for i, x := range v {
				t := Trial{Cell: len(p.Cells) - 1, Repeat: i + 1, State: journal.Done, Obs: []journal.Observation{{Metric: "rate", Value: x, Unit: "1/s"}}}
				if x == 0 {
					t.State, t.Class, t.Error, t.Obs = journal.Failed, "workload", "exit code 1", nil
				} else if x < 0 {
					t.State, t.Obs = "", nil
				}
				r.Trials = append(r.Trials, t)
			}
		}
	}
	return r
}

func TestRatiosAreOfMediansAndRowsStandInTheAxisOrder(t *testing.T) {
	tab := Tabulate(bars(map[string][]float64{"abm": {10, 20, 30}, "avm": {5, 10, 90}, "bbm": {4, 4, 4}, "bvm": {8, 8, 8}}, true)).Tables[0]
	if d := cmp.Diff([][]string{{"b", "a"}, {"vm", "bm"}}, [][]string{tab.Rows, tab.Columns}); d != "" {
		t.Error(d)
	}
	var got []float64
	for _, row := range tab.Points {
		for _, p := range row {
			got = append(got, p.Sample.Center, p.Base.Center, p.Ratio, p.RatioLevel)
		}
	}
	if d := cmp.Diff([]float64{8, 4, 2, 0, 4, 4, 1, 0, 10, 20, 0.5, 0, 20, 20, 1, 0}, got); d != "" {
		t.Errorf("median, baseline, ratio and level of each bar (-want +got):\n%s", d)
	}
	if m := tab.Points[1][0].Sample; !m.Harmonic || math.Abs(m.Mean-3/(1.0/5+1.0/10+1.0/90)) > 1e-9 {
		t.Errorf("got mean %g (harmonic %v); want that of a rate", m.Mean, m.Harmonic)
	}
}

func TestABarWithoutANumberSaysWhy(t *testing.T) {
	r := bars(map[string][]float64{"abm": {1, 1, 1}, "avm": {0, 0, 0}, "bbm": {-1, -1, -1}, "bvm": {2, 2, 0}}, true)
	r.Plan.Excluded = []plan.Excluded{{Cell: "one/model=c,o=vm", Reason: "does not boot"}, {Cell: "two/other=1", Reason: "not in this figure's axes"}}
	tab := Tabulate(r).Tables[0]
	notes := strings.Join(tab.Notes, "\n")
	for _, want := range []string{
		"one/model=a,o=vm has no number: workload: exit code 1",
		"one/model=b,o=bm has no number: not run",
		"one/model=b,o=vm has 2 of 3 values: workload: exit code 1",
		"one/model=c,o=vm is excluded: does not boot",
	} {
		if !strings.Contains(notes, want) {
			t.Errorf("notes %q lack %q", notes, want)
		}
	}
	for _, row := range tab.Points {
		for _, p := range row {
			if p.Sample.N == 0 && (p.Note == "" || p.Ratio != 0) {
				t.Errorf("%s: note %q, ratio %g; want a note and no ratio", p.Cell, p.Note, p.Ratio)
			}
		}
	}
}

func TestACellThatTheStudyLacksIsNoBar(t *testing.T) {
	tab := Tabulate(bars(map[string][]float64{"abm": {1, 1, 1}, "avm": {2, 2, 2}, "bvm": {3, 3, 3}}, true)).Tables[0]
	var got []string
	for _, row := range tab.Points {
		for _, p := range row {
			got = append(got, p.Cell)
		}
	}
	if d := cmp.Diff([]string{"one/model=b,o=vm", "", "one/model=a,o=vm", "one/model=a,o=bm"}, got); d != "" {
		t.Error(d)
	}
	if p := tab.Points[0][0]; p.Ratio != 0 || p.Note == "" {
		t.Errorf("got ratio %g, note %q of a bar without baseline; want none, and why", p.Ratio, p.Note)
	}
}

func TestABaselineOfZeroGivesNoRatio(t *testing.T) {
	r := bars(map[string][]float64{"abm": {1, 1, 1}, "avm": {2, 2, 2}}, true)
	for n := 1; n <= 3; n++ {
		r.Trial(0, n).Obs[0].Value = 0
	}
	p := Tabulate(r).Tables[0].Points[0][0]
	if p.Ratio != 0 || p.Sample.Center != 2 || p.Note != "no ratio: the median of its baseline one/model=a,o=bm is 0" {
		t.Errorf("got %+v", p)
	}
}

func TestAValueThatIsNoNumberIsMissing(t *testing.T) {
	r := bars(map[string][]float64{"abm": {1, 2, 3}}, false)
	r.Trial(0, 1).Obs[0].Value, r.Trial(0, 2).Obs[0].Value = math.NaN(), math.Inf(1)
	s := Tabulate(r).Tables[0].Points[0][0].Sample
	if s.N != 1 || s.Missing != 2 || s.Center != 3 || !slices.Equal(s.Repeats, []int{3}) {
		t.Errorf("got %+v", s)
	}
}

func TestNumbersOfATrialThatFailedDoNotCount(t *testing.T) {
	r := bars(map[string][]float64{"abm": {1, 2, 3}}, false)
	r.Trial(0, 3).State = journal.Failed
	if s := Tabulate(r).Tables[0].Points[0][0].Sample; s.N != 2 || s.Center != 1.5 {
		t.Errorf("got %+v", s)
	}
}

func TestABarOfSeveralCellsHasNoNumber(t *testing.T) {
	r := bars(map[string][]float64{"abm": {1, 2, 3}, "bbm": {4, 5, 6}}, false)
	for i := range r.Plan.Cells {
		r.Plan.Cells[i].Axes[0].Value = "a"
	}
	p := Tabulate(r).Tables[0].Points[0][0]
	if p.Sample.N != 0 || !strings.Contains(p.Note, "would be 2 cells") {
		t.Errorf("got %+v", p)
	}
}

func TestAnExcludedBarHasItsReason(t *testing.T) {
	r := bars(map[string][]float64{"abm": {1, 2, 3}, "avm": {1, 2, 3}, "bbm": {4, 5, 6}}, false)
	r.Plan.Excluded = []plan.Excluded{{Cell: "one/model=b,o=vm", Reason: "does not boot"}}
	if p := Tabulate(r).Tables[0].Points[0][0]; p.Note != "excluded: does not boot" {
		t.Errorf("got %+v", p)
	}
}

func TestWhatIsObservedTwiceCountsOnce(t *testing.T) {
	p := &plan.Plan{Repeats: 1, Fleets: []plan.Fleet{{Name: "vm-1"}}, Cells: []plan.Cell{{Name: "a", Key: "k"}}}
	h := journal.NewHistory()
	err := h.Fold(journal.Event{Kind: journal.Observed, Key: "k", Repeat: 1, Observations: []journal.Observation{
		{Metric: "rate", Value: 1}, {Metric: "rate", Value: 2}, {Metric: "loss", Value: math.NaN()},
	}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := FromHistory(p, h)
	if err != nil {
		t.Fatal(err)
	}
	if tr := r.Trial(0, 1); len(tr.Obs) != 1 || tr.Obs[0].Value != 1 || len(tr.Warnings) != 2 {
		t.Errorf("got %+v", tr)
	}
}

func TestRatioIntervals(t *testing.T) {
	a, b := []float64{12, 11, 13, 12.5, 11.5, 12.2}, []float64{10, 9.5, 10.5, 10.2, 9.8, 10.1}
	lo, hi, level := RatioInterval(a, b)
	ratio := 12.1 / 10.05
	if level != Confidence || lo > ratio || hi < ratio {
		t.Errorf("got %g..%g at %g; want an interval around %g", lo, hi, level, ratio)
	}
	if lo2, hi2, _ := RatioInterval(a, b); lo2 != lo || hi2 != hi {
		t.Errorf("the same values gave %g..%g and %g..%g", lo, hi, lo2, hi2)
	}
	if _, _, level := RatioInterval(a[:5], b); level != 0 {
		t.Error("an interval of 5 values")
	}
	if _, _, level := RatioInterval(a, []float64{-1, 1, 2, 3, 4, 5}); level != 0 {
		t.Error("an interval over a baseline that changes its sign")
	}
}

// folder writes a run folder with one cell of two repeats, of which the first is observed.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	limit := plan.Limit{Timeout: 1, Attempts: 1}
	p := &plan.Plan{
		Format: plan.Format, Study: "tiny", Testbed: "t", Repeats: 2, Clouds: []plan.Cloud{{Name: "c", Backend: "memory"}},
		Policy: plan.Policy{Provision: limit, Stage: limit, Trial: limit, Release: limit},
		Fleets: []plan.Fleet{{Name: "vm-1", Cloud: "c", Machines: []plan.Machine{{Name: "m0", Spec: []byte("{}")}}}},
		Cells:  []plan.Cell{{Name: "a", Key: "k", Roles: []plan.Role{{Name: "w", Args: []plan.Arg{{Text: "x"}}, Machines: []int{0}, Finish: plan.Exits}}}},
		Steps: []plan.Step{
			{Kind: plan.Provision}, {Kind: plan.Trial, Repeat: 1, After: []int32{0}}, {Kind: plan.Trial, Repeat: 2, After: []int32{0}}, {Kind: plan.Release},
		},
	}
	b, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, PlanFile), b, 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := journal.Open(filepath.Join(dir, JournalFile), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Append(
		journal.Event{Kind: journal.Opened, Run: "tiny-1", Version: "v1"},
		journal.Event{Kind: journal.Started, Step: "trial/a/r1", Attempt: 1},
		journal.Event{Kind: journal.Observed, Step: "trial/a/r1", Key: "k", Repeat: 1, Observations: []journal.Observation{{Metric: "rate", Value: 5, Unit: "1/s"}}},
		journal.Event{Kind: journal.Ended, Step: "trial/a/r1", Attempt: 1, State: journal.Done},
		journal.Event{Kind: journal.Started, Step: "trial/a/r2", Attempt: 1},
		journal.Event{Kind: journal.Ended, Step: "trial/a/r2", Attempt: 1, State: journal.Failed, Class: "workload", Error: "exit code 2"},
	); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestARunIsReadFromItsFolderAlone(t *testing.T) {
	r, err := Load(folder(t))
	if err != nil {
		t.Fatal(err)
	}
	first, second := r.Trial(0, 1), r.Trial(0, 2)
	if o, ok := first.Value("rate"); !ok || o.Value != 5 || first.State != journal.Done || first.Attempts != 1 {
		t.Errorf("got %+v; want the observed trial", first)
	}
	if second.State != journal.Failed || second.Class != "workload" || second.Error != "exit code 2" || len(second.Obs) > 0 {
		t.Errorf("got %+v; want the failed trial", second)
	}
	if r.ID != "tiny-1" || r.Version != "v1" || !slices.Equal(r.Left, nil) {
		t.Errorf("got run %q of %q, left %q", r.ID, r.Version, r.Left)
	}
}

func TestATornLastLineCostsOnlyItself(t *testing.T) {
	dir := folder(t)
	name := filepath.Join(dir, JournalFile)
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b[:len(b)-20], 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if r.Trial(0, 1).State != journal.Done || r.Trial(0, 2).State != "" {
		t.Errorf("got %q and %q; want the first trial done, the second without an end", r.Trial(0, 1).State, r.Trial(0, 2).State)
	}
}

func TestWhatIsNoRunFolderIsSaidToBeNone(t *testing.T) {
	if _, err := Load(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not a run folder") {
		t.Errorf("got %v", err)
	}
	dir := folder(t)
	if err := os.WriteFile(filepath.Join(dir, PlanFile), []byte(`{"format":1,"study":"x"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "plan.json") {
		t.Errorf("got %v; want an error that names the file", err)
	}
}

func TestFiguresStandInNaturalOrder(t *testing.T) {
	names := []string{"fig10", "fig2", "a", "fig02b", "fig2b", "fig"}
	slices.SortFunc(names, natural)
	if want := []string{"a", "fig", "fig2", "fig02b", "fig2b", "fig10"}; !slices.Equal(names, want) {
		t.Errorf("got %v; want %v", names, want)
	}
}
