package export

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
	"dlx.dev/dlx/results"
)

// A value is a field of a table: text, or a finite number, or nothing.
type value struct {
	text   string
	number float64
	kind   valueKind
}

type valueKind uint8

const (
	nothing valueKind = iota
	isText
	isNumber
)

func text(s string) value {
	if s == "" {
		return value{}
	}
	return value{kind: isText, text: s}
}

// number gives nothing for what is not finite.
func number(f float64) value {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return value{}
	}
	return value{kind: isNumber, number: f}
}

func integer(i int) value { return number(float64(i)) }

// numeral is the shortest text that reads back as the same number.
func numeral(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

// A ref is one observation.
type ref struct {
	trial *results.Trial
	obs   *journal.Observation
}

// observations is the tidy table of a run: one row for each trial and metric, ordered by cell,
// metric and repeat, so that the values of a cell and metric are one range.
type observations struct {
	run    *results.Run
	header []string
	axes   []string // names of the axes, in the order of their columns
	rows   []ref
	ranges map[cellMetric]span
}

type cellMetric struct {
	cell   int
	metric string
}

// A span is rows first to last, from 0.
type span struct{ first, last int }

// Columns before and after those of the axes.
var (
	columnsBefore = []string{"run", "trial", "block"}
	columnsAfter  = []string{"repeat", "attempts", "metric", "value", "unit", "role", "index", "machine", "host", "caveat", "how", "file", "line", "text"}
)

func observationsOf(r *results.Run) *observations {
	o := &observations{run: r, ranges: map[cellMetric]span{}}
	n := 0
	for i := range r.Trials {
		n += len(r.Trials[i].Obs)
	}
	o.rows = make([]ref, 0, n)
	for i := range r.Trials {
		t := &r.Trials[i]
		if t.State != journal.Done {
			continue // it has no numbers, and should it have some they do not count
		}
		for k := range t.Obs {
			o.rows = append(o.rows, ref{t, &t.Obs[k]})
		}
	}
	slices.SortStableFunc(o.rows, func(a, b ref) int {
		if a.trial.Cell != b.trial.Cell {
			return a.trial.Cell - b.trial.Cell
		}
		if c := strings.Compare(a.obs.Metric, b.obs.Metric); c != 0 {
			return c
		}
		return a.trial.Repeat - b.trial.Repeat
	})
	for i, x := range o.rows {
		k := cellMetric{x.trial.Cell, x.obs.Metric}
		s, ok := o.ranges[k]
		if !ok {
			s.first = i
		}
		s.last = i
		o.ranges[k] = s
	}
	o.axes, o.header = axisColumns(r.Plan, columnsBefore, columnsAfter)
	return o
}

// axisColumns puts the names of the axes between other columns. An axis that is called like one
// of those has "axis_" before its name.
func axisColumns(p *plan.Plan, before, after []string) (axes, header []string) {
	header = slices.Clone(before)
	for _, a := range p.Axes {
		axes = append(axes, a.Name)
	}
	slices.Sort(axes)
	for _, a := range axes {
		for slices.Contains(before, a) || slices.Contains(after, a) {
			a = "axis_" + a
		}
		header = append(header, a)
	}
	return axes, append(header, after...)
}

// row gives row i in the order of the header; it appends to buf.
func (o *observations) row(i int, buf []value) []value {
	t, x := o.rows[i].trial, o.rows[i].obs
	c := &o.run.Plan.Cells[t.Cell]
	machine, host := o.place(t, x)
	buf = append(buf, text(o.run.ID), text(plan.TrialID(c.Name, t.Repeat)), text(c.Block))
	buf = appendAxes(buf, o.axes, c)
	line := value{}
	if x.Line > 0 {
		line = integer(x.Line)
	}
	index := value{}
	if x.Role != "" {
		index = integer(x.Index)
	}
	return append(buf, integer(t.Repeat), integer(t.Attempts), text(x.Metric), number(x.Value), text(x.Unit), text(x.Role), index,
		text(machine), text(host), text(string(o.run.Plan.Caveat)), text(x.How), text(x.File), line, text(x.Text))
}

func appendAxes(buf []value, axes []string, c *plan.Cell) []value {
	for _, a := range axes {
		v, _ := c.Value(a)
		buf = append(buf, text(v))
	}
	return buf
}

// place finds the machine of the process that an observation was read from, and its host.
func (o *observations) place(t *results.Trial, x *journal.Observation) (machine, host string) {
	for i := range t.Procs {
		if t.Procs[i].Role == x.Role && t.Procs[i].Index == x.Index {
			machine = t.Procs[i].Machine
		}
	}
	for i := range t.Machines {
		if t.Machines[i].Name == machine {
			host = t.Machines[i].Host
		}
	}
	return machine, host
}
