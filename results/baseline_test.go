package results

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
)

func TestAFigureWithoutBaselineIsAbsolute(t *testing.T) {
	tab := Tabulate(bars(map[string][]float64{"abm": {10, 20, 30}, "avm": {5, 10, 90}, "bbm": {4, 4, 4}, "bvm": {8, 8, 8}}, false)).Tables[0]
	if len(tab.Notes) > 0 || tab.Metric.Unit != "1/s" {
		t.Errorf("got notes %q, unit %q; want none, 1/s", tab.Notes, tab.Metric.Unit)
	}
	if len(tab.Warnings) != 1 || !strings.HasPrefix(tab.Warnings[0], "3 values allow no 95 % confidence interval") {
		t.Errorf("got warnings %q; want one of 3 values, once", tab.Warnings)
	}
	for _, row := range tab.Points {
		for _, p := range row {
			if p.Base != nil || p.BaseCell != "" || p.Ratio != 0 || p.RatioLevel != 0 || p.Note != "" || p.Sample.N != 3 {
				t.Errorf("got %+v; want 3 values, no baseline and no note", p)
			}
		}
	}
}

func TestABaselineThatFailedGivesNoRatio(t *testing.T) {
	tab := Tabulate(bars(map[string][]float64{"abm": {0, 0, 0}, "avm": {2, 2, 2}}, true)).Tables[0]
	const why = "its baseline one/model=a,o=bm has no number: workload: exit code 1"
	if p := tab.Points[0][0]; p.Sample.Center != 2 || p.Ratio != 0 || p.Note != "no ratio: "+why {
		t.Errorf("got %+v; want the median 2 and no ratio", p)
	}
	want := []string{
		"one/model=a,o=bm has no number: workload: exit code 1",
		"one/model=a,o=bm has no ratio: " + why,
		"one/model=a,o=vm has no ratio: " + why,
	}
	if d := cmp.Diff(want, tab.Notes); d != "" {
		t.Errorf("notes (-want +got):\n%s", d)
	}
}

func TestWithSixRepeatsARatioHasItsInterval(t *testing.T) {
	vm, bm := []float64{12, 11, 13, 12.5, 11.5, 12.2}, []float64{10, 9.5, 10.5, 10.2, 9.8, 10.1}
	r := bars(map[string][]float64{"abm": bm, "avm": vm}, true)
	r.Plan.Repeats = 6
	p := Tabulate(r).Tables[0].Points[0][0]
	lo, hi, level := RatioInterval(vm, bm)
	if d := cmp.Diff([]float64{12.1 / 10.05, lo, hi, level}, []float64{p.Ratio, p.RatioLo, p.RatioHi, p.RatioLevel}, cmpopts.EquateApprox(1e-12, 0)); d != "" {
		t.Errorf("ratio, its interval and level (-want +got):\n%s", d)
	}
	if p.Sample.Level != 0.96875 || len(p.Sample.Warnings) > 0 {
		t.Errorf("got %+v; want an interval at 0.96875 without warnings", p.Sample)
	}
}

func TestTheReasonsOfMissingValuesAreListedOnce(t *testing.T) {
	r := bars(map[string][]float64{"abm": {1, 1, 1}}, false)
	for n, s := range []journal.State{journal.Done, journal.Canceled, journal.Skipped} {
		tr := r.Trial(0, n+1)
		tr.State, tr.Obs = s, []journal.Observation{{Metric: "other", Value: 1}}
	}
	p := Tabulate(r).Tables[0].Points[0][0]
	if want := "canceled; not run; the output holds no rate"; p.Note != want || p.Sample.Missing != 3 {
		t.Errorf("got note %q, %d missing; want %q, 3", p.Note, p.Sample.Missing, want)
	}
}

func TestACellIsTheBaselineOfThoseThatDifferInItsAxesOnly(t *testing.T) {
	cell := func(block string, kv ...string) *plan.Cell {
		c := &plan.Cell{Block: block}
		for i := 0; i < len(kv); i += 2 {
			c.Axes = append(c.Axes, plan.Setting{Name: kv[i], Value: kv[i+1]})
		}
		return c
	}
	bm := []plan.Setting{{Name: "o", Value: "bm"}}
	for _, c := range []struct {
		name     string
		b, of    *plan.Cell
		baseline []plan.Setting
		want     bool
	}{
		{"the other value of its axis", cell("one", "m", "a", "o", "bm"), cell("one", "m", "a", "o", "vm"), bm, true},
		{"itself", cell("one", "m", "a", "o", "bm"), cell("one", "m", "a", "o", "bm"), bm, true},
		{"another model is none", cell("one", "m", "b", "o", "bm"), cell("one", "m", "a", "o", "vm"), bm, false},
		{"another block is none", cell("two", "m", "a", "o", "bm"), cell("one", "m", "a", "o", "vm"), bm, false},
		{"another value is none", cell("one", "m", "a", "o", "vm"), cell("one", "m", "a", "o", "vm"), bm, false},
		{"other axes are none", cell("one", "m", "a", "o", "bm"), cell("one", "x", "a", "o", "vm"), bm, false},
		{"fewer axes are none", cell("one", "o", "bm"), cell("one", "m", "a", "o", "vm"), bm, false},
		{"an axis that it lacks makes it none", cell("one", "m", "a"), cell("one", "m", "a"), bm, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := isBaseOf(c.b, c.of, c.baseline); got != c.want {
				t.Errorf("got %v; want %v", got, c.want)
			}
		})
	}
}
