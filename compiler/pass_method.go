package compiler

import (
	"fmt"
	"slices"

	"dlx.dev/dlx/compiler/plan"
)

// minRankCI is the least number of values of which a rank confidence interval of the median at
// 95 % exists: 1 - 2/2^n must reach 0.95.
const minRankCI = 6

// alpha is the level of the tests whose feasibility is judged.
const alpha = 0.05

// method warns of what the numbers will not be able to say, before any machine is paid for.
func (st *state) method() {
	p := st.plan
	if len(p.Cells) == 0 {
		return
	}
	warn := func(format string, args ...any) { p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...)) }
	n := p.Repeats
	if n < minRankCI {
		warn("n = %d allows no 95 %% confidence interval of a median (that needs %d): bars have no error bars", n, minRankCI)
	}
	if m := st.comparisons(); m > 0 {
		if least := smallestP(n); least > alpha/float64(m) {
			need := n
			for smallestP(need) > alpha/float64(m) {
				need++
			}
			warn("with n = %d none of the %d comparisons with a baseline can be significant at %.2f after Holm's correction "+
				"(smallest possible p of a Mann-Whitney test: %.2g): that needs %d", n, m, alpha, least, need)
		}
	}
	capacity := map[string]int{}
	for _, a := range p.Capacity {
		capacity[a.Resource] = a.Units
	}
	var over []string
	for _, a := range p.Capacity {
		sum := 0
		for _, f := range p.Fleets {
			for _, u := range f.Uses {
				if u.Resource == a.Resource {
					sum += u.Units
				}
			}
		}
		if sum > a.Units {
			over = append(over, fmt.Sprintf("%d %s of %d", sum, a.Resource, a.Units))
		}
	}
	if len(over) > 0 && len(p.Fleets) > 1 {
		slices.Sort(over)
		warn("the %d fleets do not fit side by side (together %v): trials are interleaved within a fleet only, "+
			"so drift over time falls on the comparison between fleets", len(p.Fleets), over)
	}
}

// comparisons counts the bars of all figures that are set against a baseline.
func (st *state) comparisons() int {
	n := 0
	for _, f := range st.plan.Figures {
		if len(f.Baseline) == 0 {
			continue
		}
		for i := range st.plan.Cells {
			c := &st.plan.Cells[i]
			_, okR := c.Row(f.Rows)
			_, okC := c.Value(f.Columns)
			if (f.Block == "" || f.Block == c.Block) && plan.Matches(c, f.Where) && okR && okC && !isBaseline(c, f.Baseline) {
				n++
			}
		}
	}
	return n
}

func isBaseline(c *plan.Cell, base []plan.Setting) bool {
	for _, b := range base {
		if v, ok := c.Value(b.Name); !ok || v != b.Value {
			return false
		}
	}
	return true
}

// smallestP is the least two-sided p a Mann-Whitney U test of n against n values can give:
// 2 / C(2n, n).
func smallestP(n int) float64 {
	c := 1.0
	for i := 1; i <= n; i++ {
		c = c * float64(n+i) / float64(i)
	}
	return min(1, 2/c)
}
