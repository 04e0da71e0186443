package spec

import (
	"regexp"
	"strconv"

	"dlx.dev/dlx/spec/diag"
)

var axisName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*$`)

func (d *decoder) axisName(f field) bool {
	if !axisName.MatchString(f.name) {
		d.atLabel(f.node, "%s is no name of an axis: letters, digits, _ and -, a letter first", quote(f.name))
		return false
	}
	return true
}

const axisForm = `["resnet50", "alexnet"]`

func (d *decoder) axes(n *node) []Axis {
	if !d.isStruct(n, `{model: ["resnet50"], orchestration: ["bm", "vm"]}`) {
		return nil
	}
	if len(n.fields) == 0 {
		d.errorf(n, "no axis; write at least one, such as model: %s", axisForm)
	}
	var out []Axis
	for _, f := range n.fields {
		if !d.axisName(f) {
			continue
		}
		a := Axis{Name: f.name, Pos: f.node.label}
		switch f.node.kind {
		case structKind:
			d.unknown(f.node, "values", "when")
			if v := d.need(f.node, "values", axisForm); d.isList(v, axisForm) {
				a.Values = d.values(v, false)
			}
			a.When = d.where(d.need(f.node, "when", `{model: "alexnet"}, or write the list of values alone`), scope{not: f.name})
		case listKind:
			a.Values = d.values(f.node, false)
		case badKind:
		default:
			d.errorf(f.node, "found %s; a list of values is wanted: [%s]", f.node.found(), literalText(f.node))
		}
		out = append(out, a)
	}
	return out
}

func literalText(n *node) string {
	if n.kind == stringKind {
		return quote(n.text)
	}
	return clip(n.text)
}

// where decodes {axis: value | [values]}, in the order written. An empty one is a mistake: it
// restricts nothing and looks as if it did.
func (d *decoder) where(n *node, in scope) []Condition {
	if !d.isStruct(n, `{orchestration: "vm"} or {model: ["alexnet", "resnet50"]}`) {
		return nil
	}
	if len(n.fields) == 0 {
		d.errorf(n, `empty: it would restrict nothing; write a condition such as {orchestration: "vm"} or remove it`)
	}
	var out []Condition
	for _, f := range n.fields {
		d.refs = append(d.refs, ref{kind: axisRef, name: f.name, node: f.node, in: in})
		if vs := d.valueOrList(f.node); len(vs) > 0 {
			out = append(out, Condition{Axis: f.name, Values: vs, Pos: f.node.label})
		}
	}
	return out
}

func (d *decoder) valueOrList(n *node) []Value {
	if n.kind == listKind {
		return d.values(n, false)
	}
	if n.kind == structKind || n.kind == nullKind {
		d.errorf(n, "found %s; a value or a list of values is wanted", n.found())
		return nil
	}
	if v, ok := d.value(n); ok {
		return []Value{v}
	}
	return nil
}

// assignment decodes {axis: value}.
func (d *decoder) assignment(n *node, form string, in scope) []Setting {
	if !d.isStruct(n, form) {
		return nil
	}
	if len(n.fields) == 0 {
		d.errorf(n, "empty; write an axis and its value, such as %s", form)
	}
	var out []Setting
	for _, f := range n.fields {
		d.refs = append(d.refs, ref{kind: axisRef, name: f.name, node: f.node, in: in})
		if v, ok := d.value(f.node); ok {
			out = append(out, Setting{Axis: f.name, Value: v, Pos: f.node.label})
		}
	}
	sortSettings(out)
	return out
}

// DefaultBlock is the one block of a study without a matrix.
const DefaultBlock = "all"

const matrixForm = `[{name: "single"}]`

func (d *decoder) matrix(n, study *node) []Block {
	if n == nil {
		return []Block{{Name: DefaultBlock, Pos: study.label}}
	}
	if !d.isList(n, matrixForm) {
		return nil
	}
	if len(n.elems) == 0 {
		d.errorf(n, "no block; write at least one, such as %s", matrixForm)
	}
	var out []Block
	seen := map[string]diag.Pos{}
	for _, e := range n.elems {
		if !d.isStruct(e, `{name: "single"}`) {
			continue
		}
		b := d.block(e)
		if nameNode := e.get("name"); b.Name != "" {
			if first, dup := seen[b.Name]; dup {
				*d.errs = append(*d.errs, &diag.Error{Pos: nameNode.at, Path: nameNode.path,
					Msg: "a block named " + quote(b.Name) + " stands above already; give each its own name", Related: []diag.Pos{first}})
			} else {
				seen[b.Name] = nameNode.at
			}
		}
		out = append(out, b)
	}
	return out
}

func (d *decoder) block(n *node) Block {
	d.unknown(n, "name", "where", "with", "zip", "include")
	b := Block{Pos: n.at}
	b.Name = d.name(d.need(n, "name", `"single"`))
	b.Where = d.where(n.get("where"), scope{studyOnly: true, block: b.Name})
	if w := n.get("with"); d.isStruct(w, "{gpus: 1}") {
		for _, f := range w.fields {
			if d.axisName(f) {
				b.With = append(b.With, Axis{Name: f.name, Values: d.valueOrList(f.node), Pos: f.node.label})
			}
		}
	}
	if z := n.get("zip"); d.isStruct(z, `{model: ["resnet50", "alexnet"], batch: [32, 512]}`) {
		b.Zip = d.zip(z)
	}
	if in := n.get("include"); d.isList(in, `[{model: "alexnet", batch: 512}]`) {
		for _, e := range in.elems {
			if s := d.assignment(e, `{model: "alexnet", batch: 512}`, scope{block: b.Name, anyValue: true}); len(s) > 0 {
				b.Include = append(b.Include, s)
			}
		}
	}
	for _, z := range b.Zip {
		for _, w := range b.With {
			if z.Name == w.Name {
				*d.errs = append(*d.errs, &diag.Error{Pos: z.Pos, Path: join(join(n.path, "zip"), z.Name),
					Msg: "with gives this axis as well; remove one of them", Related: []diag.Pos{w.Pos}})
			}
		}
	}
	return b
}

func (d *decoder) zip(n *node) []Axis {
	var out []Axis
	var first *node
	for _, f := range n.fields {
		if !d.axisName(f) || !d.isList(f.node, axisForm) {
			continue
		}
		out = append(out, Axis{Name: f.name, Values: d.values(f.node, true), Pos: f.node.label})
		if first == nil {
			first = f.node
		} else if len(f.node.elems) != len(first.elems) {
			*d.errs = append(*d.errs, &diag.Error{Pos: f.node.at, Path: f.node.path, Related: []diag.Pos{first.at},
				Msg: strconv.Itoa(len(f.node.elems)) + " values, but the first list of this zip has " + strconv.Itoa(len(first.elems)) + "; lists that advance together have one length"})
		}
	}
	return out
}

func (d *decoder) exclusions(n *node) []Exclusion {
	const form = `[{where: {orchestration: "vm"}, reason: "no licence"}]`
	if !d.isList(n, form) {
		return nil
	}
	var out []Exclusion
	for _, e := range n.elems {
		if !d.isStruct(e, form[1:len(form)-1]) {
			continue
		}
		d.unknown(e, "block", "where", "reason")
		x := Exclusion{Pos: e.at, Block: d.blockName(e.get("block"))}
		x.Where = d.where(d.need(e, "where", `{orchestration: "vm"}`), scope{block: x.Block})
		x.Reason = d.text(d.need(e, "reason", `"..."; the tables give it as a footnote`))
		out = append(out, x)
	}
	return out
}

// blockName is the name of a block that must exist.
func (d *decoder) blockName(n *node) string {
	s := d.str(n)
	if s != "" {
		d.refs = append(d.refs, ref{kind: blockRef, name: s, node: n})
	}
	return s
}
