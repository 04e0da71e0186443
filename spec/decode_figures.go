package spec

import (
	"cmp"
	"slices"
	"strings"
)

var figureFields = []string{"title", "metric", "block", "where", "rows", "columns", "baseline", "as", "xTitle", "yTitle"}

func (d *decoder) figures(n *node) []Figure {
	const form = `{metric: "throughput", rows: "model", columns: "orchestration"}`
	if !d.isStruct(n, "{throughput: "+form+"}") {
		return nil
	}
	var out []Figure
	for _, f := range n.fields {
		if d.label(f) && d.isStruct(f.node, form) {
			out = append(out, d.figure(f))
		}
	}
	slices.SortFunc(out, func(a, b Figure) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (d *decoder) figure(f field) Figure {
	n := f.node
	d.unknown(n, figureFields...)
	fig := Figure{Name: f.name, Pos: n.label, MetricAt: n.label}
	fig.Title = d.str(n.get("title"))
	if m := d.need(n, "metric", `"throughput"`); m != nil {
		fig.Metric, fig.MetricAt = d.text(m), m.at
		d.refs = append(d.refs, ref{kind: metricRef, name: fig.Metric, node: m})
	}
	fig.Block = d.blockName(n.get("block"))
	in := scope{block: fig.Block}
	fig.Where = d.where(n.get("where"), in)
	fig.Rows = d.axesOf(d.need(n, "rows", `"model"`), in)
	fig.Columns = d.axisOf(d.need(n, "columns", `"orchestration"`), in)
	if fig.Columns != "" && slices.Contains(fig.Rows, fig.Columns) {
		d.errorf(n.get("columns"), "rows shows the axis %s already; columns takes another one", quote(fig.Columns))
	}
	fig.Baseline = d.assignment(n.get("baseline"), `{orchestration: "bm"}`, in)
	fig.As = Absolute
	if n.get("baseline") != nil {
		fig.As = Ratio
	}
	if as := n.get("as"); as != nil {
		fig.As = cmp.Or(d.oneOf(as, Absolute, Ratio, Degradation), fig.As)
		switch base := n.get("baseline"); {
		case fig.As != Absolute && base == nil:
			d.errorf(as, `a %s is set against a baseline; write baseline: {orchestration: "bm"}`, fig.As)
		case fig.As == Absolute && base != nil:
			d.errorf(as, "absolute numbers have no baseline; remove one of them")
		}
	}
	fig.XTitle, fig.YTitle = d.str(n.get("xTitle")), d.str(n.get("yTitle"))
	return fig
}

// axesOf is the name of an axis, or a list of names.
func (d *decoder) axesOf(n *node, in scope) []string {
	if n == nil || n.kind != listKind {
		if s := d.axisOf(n, in); s != "" {
			return []string{s}
		}
		return nil
	}
	if len(n.elems) == 0 {
		d.errorf(n, "an empty list; name at least one axis")
	}
	var out []string
	for _, e := range n.elems {
		s := d.axisOf(e, in)
		if slices.Contains(out, s) {
			d.errorf(e, "the axis %s stands in this list already; remove one of them", quote(s))
		} else if s != "" {
			out = append(out, s)
		}
	}
	return out
}

// axisOf is a string that names an axis.
func (d *decoder) axisOf(n *node, in scope) string {
	s := d.text(n)
	if s != "" {
		d.refs = append(d.refs, ref{kind: axisNameRef, name: s, node: n, in: in})
	}
	return s
}

// labels decodes {axis: {value: text}}.
func (d *decoder) labels(n *node) []Label {
	if !d.isStruct(n, `{orchestration: {bm: "Bare metal"}}`) {
		return nil
	}
	var out []Label
	for _, a := range n.fields {
		d.refs = append(d.refs, ref{kind: axisNameRef, name: a.name, node: &node{path: a.node.path, at: a.node.label, label: a.node.label}})
		if !d.isStruct(a.node, `{bm: "Bare metal"}`) {
			continue
		}
		for _, v := range a.node.fields {
			d.refs = append(d.refs, ref{kind: valueRef, name: v.name, node: v.node, in: scope{not: a.name}})
			out = append(out, Label{Axis: a.name, Value: v.name, Text: d.text(v.node), Pos: v.node.label})
		}
	}
	slices.SortFunc(out, func(a, b Label) int {
		return cmp.Or(strings.Compare(a.Axis, b.Axis), strings.Compare(a.Value, b.Value))
	})
	return out
}
