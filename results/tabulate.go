package results

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
)

// Tabulate makes the tables of all figures of the run's plan.
func Tabulate(r *Run) *Book {
	b := &Book{Run: r, Warnings: slices.Clone(r.Plan.Warnings)}
	for _, f := range r.Plan.Figures {
		b.Tables = append(b.Tables, tabulate(r, f))
	}
	slices.SortStableFunc(b.Tables, func(a, b Table) int { return natural(a.Figure.Name, b.Figure.Name) })
	return b
}

// natural compares names so that fig2 comes before fig10.
func natural(a, b string) int {
	for a != "" && b != "" {
		x, y := digits(a), digits(b)
		if x == 0 || y == 0 {
			if a[0] != b[0] {
				return cmp.Compare(a[0], b[0])
			}
			a, b = a[1:], b[1:]
			continue
		}
		m, n := strings.TrimLeft(a[:x], "0"), strings.TrimLeft(b[:y], "0")
		if c := cmp.Or(cmp.Compare(len(m), len(n)), strings.Compare(m, n)); c != 0 {
			return c
		}
		a, b = a[x:], b[y:]
	}
	return cmp.Compare(len(a), len(b))
}

// digits counts those that a text begins with.
func digits(s string) int { return len(s) - len(strings.TrimLeft(s, "0123456789")) }

func tabulate(r *Run, f plan.Figure) Table {
	p := r.Plan
	t := Table{Figure: f}
	if i := slices.IndexFunc(p.Metrics, func(m plan.Metric) bool { return m.Name == f.Metric }); i >= 0 {
		t.Metric = p.Metrics[i]
	}
	cells := selected(p, f)
	t.Rows, t.Columns = rowsOf(p, cells, f.Rows), valuesOf(p, cells, f.Columns)
	for _, row := range t.Rows {
		points := make([]Point, len(t.Columns))
		for c, column := range t.Columns {
			points[c] = point(r, &t, cells, row, column)
		}
		t.Points = append(t.Points, points)
	}
	for _, x := range p.Excluded {
		if excludedFrom(x.Cell, f) {
			t.Notes = append(t.Notes, x.Cell+" is excluded: "+x.Reason)
		}
	}
	slices.Sort(t.Notes)
	t.Notes = slices.Compact(t.Notes)
	if t.hasRefs() {
		t.Notes = append(t.Notes, "reference numbers: "+p.RefsFrom)
	}
	return t
}

func (t *Table) hasRefs() bool {
	for _, row := range t.Points {
		for i := range row {
			if row[i].Ref != nil {
				return true
			}
		}
	}
	return false
}

// selected lists the cells a figure shows.
func selected(p *plan.Plan, f plan.Figure) []int {
	var out []int
	for i := range p.Cells {
		c := &p.Cells[i]
		_, okR := c.Row(f.Rows)
		_, okC := c.Value(f.Columns)
		if (f.Block == "" || c.Block == f.Block) && plan.Matches(c, f.Where) && okR && okC {
			out = append(out, i)
		}
	}
	return out
}

func rowOf(c *plan.Cell, f plan.Figure) string {
	row, _ := c.Row(f.Rows)
	return row
}

// rowsOf lists the combinations of values that the cells have, the first axis changing slowest,
// each axis in its own order.
func rowsOf(p *plan.Plan, cells []int, axes []string) []string {
	rank := func(c *plan.Cell) []int {
		var out []int
		for _, name := range axes {
			v, _ := c.Value(name)
			for _, a := range p.Axes {
				if a.Name == name {
					out = append(out, slices.Index(a.Values, v))
				}
			}
		}
		return out
	}
	sorted := slices.Clone(cells)
	slices.SortStableFunc(sorted, func(a, b int) int { return slices.Compare(rank(&p.Cells[a]), rank(&p.Cells[b])) })
	var out []string
	for _, i := range sorted {
		if row, _ := p.Cells[i].Row(axes); !slices.Contains(out, row) {
			out = append(out, row)
		}
	}
	return out
}

// valuesOf lists an axis's values that the cells have, in the axis's own order.
func valuesOf(p *plan.Plan, cells []int, axis string) []string {
	have := map[string]bool{}
	for _, i := range cells {
		v, _ := p.Cells[i].Value(axis)
		have[v] = true
	}
	var out []string
	for _, a := range p.Axes {
		if a.Name == axis {
			for _, v := range a.Values {
				if have[v] {
					out = append(out, v)
				}
			}
		}
	}
	return out
}

func point(r *Run, t *Table, cells []int, row, column string) Point {
	p := r.Plan
	pt := Point{Row: row, Column: column}
	at := cellsAt(p, t.Figure, cells, row, column)
	switch len(at) {
	case 0:
		pt.Note = absent(p, t.Figure, row, column)
		return pt
	case 1:
	default: // a plan of a part of the study is not checked for it
		pt.Note = fmt.Sprintf("would be %d cells, such as %s and %s: restrict the figure's where or block", len(at), p.Cells[at[0]].Name, p.Cells[at[1]].Name)
		t.Notes = append(t.Notes, row+", "+column+" has no number: "+pt.Note)
		return pt
	}
	cell := at[0]
	pt.Cell = p.Cells[cell].Name
	var why string
	pt.Sample, why = sampleOf(r, cell, t.Metric)
	if pt.Sample.N == 0 {
		pt.Note = why
		t.Notes = append(t.Notes, pt.Cell+" has no number: "+why)
	} else if pt.Sample.Missing > 0 {
		t.Notes = append(t.Notes, fmt.Sprintf("%s has %d of %d values: %s", pt.Cell, pt.Sample.N, p.Repeats, why))
	}
	for _, w := range pt.Sample.Warnings {
		if !slices.Contains(t.Warnings, w) {
			t.Warnings = append(t.Warnings, w)
		}
	}
	if len(t.Figure.Baseline) > 0 {
		pt.ratio(r, t, cell)
	}
	pt.reference(p, t.Metric.Name)
	return pt
}

// absent says why the study has no cell for a bar.
func absent(p *plan.Plan, f plan.Figure, row, column string) string {
	at := []plan.Condition{{Axis: f.Columns, Values: []string{column}}}
	for _, x := range p.Excluded {
		if c := namedCell(x.Cell); excludedFrom(x.Cell, f) && plan.Matches(&c, at) && rowOf(&c, f) == row {
			return "excluded: " + x.Reason
		}
	}
	return "not part of the study"
}

// cellsAt lists the cells of a bar: one, in a figure that is well made.
func cellsAt(p *plan.Plan, f plan.Figure, cells []int, row, column string) []int {
	var at []int
	for _, i := range cells {
		cv, _ := p.Cells[i].Value(f.Columns)
		if rowOf(&p.Cells[i], f) == row && cv == column {
			at = append(at, i)
		}
	}
	return at
}

// ratio sets a point against the cell that differs from it only by the baseline's values.
func (pt *Point) ratio(r *Run, t *Table, cell int) {
	p := r.Plan
	base := slices.IndexFunc(p.Cells, func(c plan.Cell) bool { return isBaseOf(&c, &p.Cells[cell], t.Figure.Baseline) })
	none := func(why string) {
		t.Notes = append(t.Notes, pt.Cell+" has no ratio: "+why)
		if pt.Note == "" {
			pt.Note = "no ratio: " + why
		}
	}
	if base < 0 {
		none("the study has no baseline cell for it")
		return
	}
	s, why := sampleOf(r, base, t.Metric)
	pt.Base, pt.BaseCell = &s, p.Cells[base].Name
	switch {
	case s.N == 0:
		none("its baseline " + pt.BaseCell + " has no number: " + why)
	case s.Center == 0:
		none("the median of its baseline " + pt.BaseCell + " is 0")
	case pt.Sample.N == 0:
	case base == cell: // a sample against itself is 1, without doubt
		pt.Ratio, pt.RatioLo, pt.RatioHi = 1, 1, 1
	default:
		pt.Ratio = pt.Sample.Center / s.Center
		pt.RatioLo, pt.RatioHi, pt.RatioLevel = RatioInterval(pt.Sample.Values, s.Values)
	}
}

// reference looks up what was published for the cell and for its baseline.
func (pt *Point) reference(p *plan.Plan, metric string) {
	own := p.Reference(pt.Cell, metric)
	if own == nil {
		return
	}
	pt.Ref = &Ref{Value: own.Value, Note: own.Note}
	if base := p.Reference(pt.BaseCell, metric); base != nil && base.Value != 0 {
		pt.Ref.Ratio = own.Value / base.Value
	}
}

// isBaseOf reports whether b has the baseline's values and equals c on every other axis.
func isBaseOf(b, c *plan.Cell, baseline []plan.Setting) bool {
	given := func(axis string) (string, bool) {
		for _, s := range baseline {
			if s.Name == axis {
				return s.Value, true
			}
		}
		return "", false
	}
	if b.Block != c.Block || len(b.Axes) != len(c.Axes) {
		return false
	}
	for i, s := range b.Axes {
		want, ok := given(s.Name)
		if !ok {
			want = c.Axes[i].Value
		}
		if c.Axes[i].Name != s.Name || s.Value != want {
			return false
		}
	}
	for _, s := range baseline {
		if _, ok := b.Value(s.Name); !ok {
			return false
		}
	}
	return true
}

// sampleOf gathers a metric over the repeats of a cell that are done, and says why values are
// missing.
func sampleOf(r *Run, cell int, m plan.Metric) (Sample, string) {
	var values []float64
	var repeats []int
	var why []string
	for n := 1; n <= r.Plan.Repeats; n++ {
		t := r.Trial(cell, n)
		if o, ok := t.Value(m.Name); ok && t.State == journal.Done && !math.IsNaN(o.Value) && !math.IsInf(o.Value, 0) {
			values, repeats = append(values, o.Value), append(repeats, n)
			continue
		}
		why = append(why, missing(t, m.Name))
	}
	s := Summarize(values, repeats, m.Kind)
	s.Missing = len(why)
	slices.Sort(why)
	return s, strings.Join(slices.Compact(why), "; ")
}

func missing(t *Trial, metric string) string {
	switch t.State {
	case journal.Done:
		return "the output holds no " + metric
	case journal.Failed:
		return t.Class + ": " + t.Error
	case journal.Canceled:
		return "canceled"
	default:
		return "not run"
	}
}

// excludedFrom reports whether an excluded cell would have been in the figure.
func excludedFrom(name string, f plan.Figure) bool {
	c := namedCell(name)
	_, row := c.Row(f.Rows)
	_, column := c.Value(f.Columns)
	return row && column && (f.Block == "" || f.Block == c.Block) && plan.Matches(&c, f.Where)
}

// namedCell has the block and the axes that a cell's name says.
func namedCell(name string) plan.Cell {
	block, rest, _ := strings.Cut(name, "/")
	c := plan.Cell{Block: block}
	for _, s := range strings.Split(rest, ",") {
		if axis, v, ok := strings.Cut(s, "="); ok {
			c.Axes = append(c.Axes, plan.Setting{Name: axis, Value: v})
		}
	}
	return c
}
