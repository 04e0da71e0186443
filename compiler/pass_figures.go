package compiler

import (
	"cmp"
	"slices"
	"strings"

	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/spec"
	"dlx.dev/dlx/spec/diag"
)

// figures carries over what the tables need: axes, blocks, metrics and figures, by name.
func (st *state) figures() {
	p := st.plan
	p.Axes = st.axes()
	for _, b := range st.study.Blocks {
		p.Blocks = append(p.Blocks, b.Name)
	}
	slices.Sort(p.Blocks)
	for _, m := range st.study.Metrics {
		p.Metrics = append(p.Metrics, plan.Metric{Name: m.Name, Unit: m.Unit, Kind: m.Kind, Better: m.Better})
	}
	slices.SortFunc(p.Metrics, func(a, b plan.Metric) int { return strings.Compare(a.Name, b.Name) })
	for i := range st.study.Figures {
		f := &st.study.Figures[i]
		out := plan.Figure{Name: f.Name, Title: f.Title, Metric: f.Metric, Block: f.Block, Rows: f.Rows, Columns: f.Columns, As: f.As, XTitle: f.XTitle, YTitle: f.YTitle}
		for _, w := range f.Where {
			c := plan.Condition{Axis: w.Axis}
			for _, v := range w.Values {
				c.Values = append(c.Values, v.Text)
			}
			out.Where = append(out.Where, c)
		}
		slices.SortFunc(out.Where, func(a, b plan.Condition) int { return strings.Compare(a.Axis, b.Axis) })
		for _, s := range f.Baseline {
			out.Baseline = append(out.Baseline, plan.Setting{Name: s.Axis, Value: s.Value.Text})
		}
		slices.SortFunc(out.Baseline, func(a, b plan.Setting) int { return strings.Compare(a.Name, b.Name) })
		p.Figures = append(p.Figures, out)
		st.checkFigure(f, &out)
	}
	for _, l := range st.study.Labels {
		p.Labels = append(p.Labels, plan.Label{Axis: l.Axis, Value: l.Value, Text: l.Text})
	}
	st.references()
	slices.SortFunc(p.Figures, func(a, b plan.Figure) int { return strings.Compare(a.Name, b.Name) })
}

// axes joins the study's axes with those of the blocks. Values stand in the order written, first
// the study's, so that tables show them as the user thinks of them.
func (st *state) axes() []plan.Axis {
	var out []plan.Axis
	add := func(a spec.Axis) {
		i := slices.IndexFunc(out, func(o plan.Axis) bool { return o.Name == a.Name })
		if i < 0 {
			out = append(out, plan.Axis{Name: a.Name, Number: true})
			i = len(out) - 1
		}
		for _, v := range a.Values {
			if !slices.Contains(out[i].Values, v.Text) {
				out[i].Values = append(out[i].Values, v.Text)
				out[i].Number = out[i].Number && v.Number
			}
		}
	}
	for _, a := range st.study.Axes {
		add(a)
	}
	for _, b := range st.study.Blocks {
		for _, a := range b.With {
			add(a)
		}
		for _, a := range b.Zip {
			add(a)
		}
		for _, inc := range b.Include {
			for _, s := range inc {
				add(spec.Axis{Name: s.Axis, Values: []spec.Value{s.Value}})
			}
		}
	}
	slices.SortFunc(out, func(a, b plan.Axis) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// checkFigure reports a figure that would be empty, or of which one bar would be several cells.
func (st *state) checkFigure(f *spec.Figure, out *plan.Figure) {
	if st.study.Incomplete || len(st.plan.Cells) == 0 || len(st.opt.Only) > 0 {
		return
	}
	type at struct{ row, column string }
	bars := map[at]*plan.Cell{}
	for i := range st.plan.Cells {
		c := &st.plan.Cells[i]
		row, okR := c.Row(f.Rows)
		column, okC := c.Value(f.Columns)
		if out.Block != "" && c.Block != out.Block || !plan.Matches(c, out.Where) || !okR || !okC {
			continue
		}
		other := bars[at{row, column}]
		if other == nil {
			bars[at{row, column}] = c
			continue
		}
		st.errs.Addf(f.Pos, "study.figures."+f.Name, "bar %s, %s would be several cells: they differ in %s: fix that in the figure's where or block",
			row, column, strings.Join(differing(other, c), ", "))
		return
	}
	if len(bars) == 0 {
		st.errs.Addf(f.Pos, "study.figures."+f.Name, "shows no cell: none meets its block and where and has the axes %s and %s", strings.Join(f.Rows, ", "), f.Columns)
	}
}

func differing(a, b *plan.Cell) []string {
	var out []string
	if a.Block != b.Block {
		out = append(out, "block ("+a.Block+", "+b.Block+")")
	}
	for _, s := range a.Axes {
		if v, ok := b.Value(s.Name); ok && v != s.Value {
			out = append(out, s.Name+" ("+s.Value+", "+v+")")
		} else if !ok {
			out = append(out, s.Name+" ("+s.Value+", none)")
		}
	}
	return out
}

// references gives each reference number its cell.
func (st *state) references() {
	r := st.study.Reference
	if r == nil || st.study.Incomplete || len(st.plan.Cells) == 0 {
		return
	}
	st.plan.RefsFrom = r.Source
	at := map[[2]string]diag.Pos{}
	for i := range r.Rows {
		row := &r.Rows[i]
		var cells []string
		for k := range st.plan.Cells {
			if c := &st.plan.Cells[k]; (row.Block == "" || row.Block == c.Block) && has(c, row.Where) {
				cells = append(cells, c.Name)
			}
		}
		switch {
		case len(cells) == 0 && len(st.opt.Only) > 0: // of a part that is not planned
			continue
		case len(cells) == 0:
			st.errs.Addf(row.Pos, "study.reference", "belongs to no cell: none has these values")
			continue
		case len(cells) > 1:
			st.errs.Addf(row.Pos, "study.reference", "belongs to %d cells, such as %s and %s: give more axes", len(cells), cells[0], cells[1])
			continue
		}
		k := [2]string{cells[0], row.Metric}
		if other, twice := at[k]; twice {
			st.errs = append(st.errs, &diag.Error{Pos: row.Pos, Path: "study.reference", Related: []diag.Pos{other}, Msg: "a second number for " + row.Metric + " of cell " + cells[0] + "; remove one of them"})
			continue
		}
		at[k] = row.Pos
		st.plan.Refs = append(st.plan.Refs, plan.Reference{Cell: cells[0], Metric: row.Metric, Value: row.Value, Note: row.Note})
	}
	slices.SortFunc(st.plan.Refs, func(a, b plan.Reference) int {
		return cmp.Or(strings.Compare(a.Cell, b.Cell), strings.Compare(a.Metric, b.Metric))
	})
}

func has(c *plan.Cell, where []spec.Setting) bool {
	for _, w := range where {
		if v, ok := c.Value(w.Axis); !ok || v != w.Value.Text {
			return false
		}
	}
	return true
}
