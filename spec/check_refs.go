package spec

import (
	"fmt"
	"slices"

	"dlx.dev/dlx/spec/diag"
	"dlx.dev/dlx/spec/words"
)

// A scope says which axes and values a reference may name.
type scope struct {
	block     string // those of this block; empty: of any
	studyOnly bool   // those of the study's axes alone
	not       string // not this axis
	anyValue  bool   // values that the axis lacks as well
}

type refKind uint8

const (
	axisRef     refKind = iota // a field whose label is an axis and whose value is one of its values, or a list of them
	axisNameRef                // a string that is the name of an axis
	blockRef
	metricRef
	valueRef // a field below an axis, whose label is a value: in.not holds the axis
)

// A ref is a place that names something which must exist.
type ref struct {
	kind refKind
	name string
	node *node
	in   scope
}

// values returns an axis's values in a scope; known is false for no such axis.
func (s *Study) values(axis string, in scope) (values []Value, known bool) {
	add := func(axes []Axis) bool {
		for _, a := range axes {
			if a.Name == axis {
				values, known = append(values, a.Values...), true
				return true
			}
		}
		return false
	}
	if in.studyOnly {
		add(s.Axes)
		return values, known
	}
	inStudy := false
	for i := range s.Blocks {
		b := &s.Blocks[i]
		if in.block != "" && b.Name != in.block {
			continue
		}
		if with, zip := add(b.With), add(b.Zip); !with && !zip {
			inStudy = true
		}
		for _, cell := range b.Include {
			for _, set := range cell {
				if set.Axis == axis {
					values = append(values, set.Value)
				}
			}
		}
	}
	if inStudy || len(s.Blocks) == 0 {
		add(s.Axes)
	}
	return values, known
}

// axisNames are the axes of a scope, the study's first.
func (s *Study) axisNames(in scope) []string {
	var names []string
	add := func(axes []Axis) {
		for _, a := range axes {
			if !slices.Contains(names, a.Name) && a.Name != in.not {
				names = append(names, a.Name)
			}
		}
	}
	add(s.Axes)
	for _, b := range s.Blocks {
		if !in.studyOnly && (in.block == "" || in.block == b.Name) {
			add(b.With)
			add(b.Zip)
		}
	}
	return names
}

func texts(values []Value) []string {
	var out []string
	seen := make(map[string]bool, len(values))
	for _, v := range values {
		if !seen[v.Text] {
			seen[v.Text] = true
			out = append(out, v.Text)
		}
	}
	return out
}

// checkRefs reports what names something that is not there. Where a block, an axis or a list
// was left out because of a mistake, what follows from its absence is not reported.
func (d *decoder) checkRefs(s *Study, root *node) {
	whole := wholeAxes(root)
	for _, r := range d.refs {
		switch r.kind {
		case axisRef, axisNameRef, valueRef:
			d.checkAxisRef(s, r, whole)
		case blockRef:
			var names []string
			for _, b := range s.Blocks {
				names = append(names, b.Name)
			}
			if !slices.Contains(names, r.name) && !slices.Contains(names, "") && (root.get("matrix") == nil || len(names) > 0) {
				*d.errs = append(*d.errs, &diag.Error{Pos: r.node.at, Path: r.node.path, Msg: "unknown block " + quote(r.name) + words.Known(r.name, names),
					Related: see(s.blockAt(words.Nearest(r.name, names)))})
			}
		case metricRef:
			var names []string
			for _, m := range s.Metrics {
				names = append(names, m.Name)
			}
			if r.name != "" && !slices.Contains(names, r.name) && (root.get("metrics") == nil || root.get("metrics").kind == structKind) {
				d.errorf(r.node, "unknown metric %s%s", quote(r.name), words.Known(r.name, names))
			}
		}
	}
}

// wholeAxes reports whether the study's axes could be read.
func wholeAxes(root *node) bool {
	a := root.get("axes")
	return a != nil && a.kind == structKind && len(a.fields) > 0
}

func (d *decoder) checkAxisRef(s *Study, r ref, whole bool) {
	in := r.in
	axis := r.name
	if r.kind == valueRef {
		axis, in.not = in.not, ""
	}
	if in.block != "" && !slices.ContainsFunc(s.Blocks, func(b Block) bool { return b.Name == in.block }) {
		in.block = "" // reported already
	}
	values, known := s.values(axis, in)
	if axis == in.not {
		d.atLabel(r.node, "an axis cannot be the condition of itself; name another one%s", words.List(s.axisNames(in)))
		return
	}
	if !known {
		if !whole || r.kind == valueRef {
			return
		}
		hint := ""
		if _, elsewhere := s.values(axis, scope{}); elsewhere {
			hint = "; it is an axis of other blocks"
			if in.studyOnly {
				hint = "; it is an axis of a block, and where picks values of the study's axes"
			}
			d.unknownAxis(r, "the axis "+quote(axis)+" does not exist here"+words.List(s.axisNames(in))+hint, diag.Pos{})
			return
		}
		d.unknownAxis(r, "unknown axis "+quote(axis)+words.Known(axis, s.axisNames(in)), s.axisAt(words.Nearest(axis, s.axisNames(in))))
		return
	}
	if r.kind == axisNameRef || in.anyValue || hasBadValue(values) {
		return
	}
	if r.kind == valueRef {
		if !slices.Contains(texts(values), r.name) {
			d.noValue(r.node.label, r.node.path, axis, r.name, values)
		}
		return
	}
	nodes := []*node{r.node}
	if r.node.kind == listKind {
		nodes = r.node.elems
	}
	for _, n := range nodes {
		if isScalar(n) && valueText.MatchString(n.text) && !slices.Contains(texts(values), n.text) {
			d.noValue(n.at, n.path, axis, n.text, values)
		}
	}
}

func isScalar(n *node) bool {
	switch n.kind {
	case stringKind, intKind, floatKind, boolKind:
		return true
	default:
		return false
	}
}

// hasBadValue is true for an axis of which no value could be read.
func hasBadValue(values []Value) bool { return len(values) == 0 }

// noValue reports a value that an axis lacks, and where the one stands that may be meant.
func (d *decoder) noValue(at diag.Pos, path, axis, text string, values []Value) {
	*d.errs = append(*d.errs, &diag.Error{
		Pos: at, Path: path, Msg: fmt.Sprintf("the axis %s has no value %s%s", axis, quote(text), words.Known(text, texts(values))),
		Related: see(valueAt(values, words.Nearest(text, texts(values)))),
	})
}

// axisAt is the place of an axis; not valid if there is none of this name.
func (s *Study) axisAt(name string) diag.Pos {
	find := func(axes []Axis) diag.Pos {
		for _, a := range axes {
			if a.Name == name {
				return a.Pos
			}
		}
		return diag.Pos{}
	}
	at := find(s.Axes)
	for i := range s.Blocks {
		if at.IsValid() {
			break
		}
		if at = find(s.Blocks[i].With); !at.IsValid() {
			at = find(s.Blocks[i].Zip)
		}
	}
	return at
}

// blockAt is the place of a block; not valid if there is none of this name.
func (s *Study) blockAt(name string) diag.Pos {
	for i := range s.Blocks {
		if s.Blocks[i].Name == name && s.Blocks[i].Pos != s.Pos { // not the one that stands for no matrix
			return s.Blocks[i].Pos
		}
	}
	return diag.Pos{}
}

// valueAt is the place of a value; not valid if there is none of this text.
func valueAt(values []Value, text string) diag.Pos {
	for _, v := range values {
		if v.Text == text {
			return v.Pos
		}
	}
	return diag.Pos{}
}

// see makes a list of places of those that are valid.
func see(at diag.Pos) []diag.Pos {
	if !at.IsValid() {
		return nil
	}
	return []diag.Pos{at}
}

func (d *decoder) unknownAxis(r ref, msg string, near diag.Pos) {
	at := r.node.label
	if r.kind == axisNameRef {
		at = r.node.at
	}
	*d.errs = append(*d.errs, &diag.Error{Pos: at, Path: r.node.path, Msg: msg, Related: see(near)})
}
