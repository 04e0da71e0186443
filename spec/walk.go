package spec

import (
	"math/big"
	"strconv"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/errors"

	"dlx.dev/dlx/spec/diag"
)

// A walker turns CUE values into nodes. What cannot become a node is reported and becomes a bad
// one; the walk goes on beside it.
type walker struct {
	p    *pkg
	errs *diag.List
}

// maxDepth bounds the walk: nothing in the language is deeper, and a recursive value is endless.
const maxDepth = 24

// tree returns the node of a field of the package, or nil when there is none.
func (p *pkg) tree(name string, errs *diag.List) *node {
	v := p.value.LookupPath(cue.MakePath(cue.Str(name)))
	if !v.Exists() {
		return nil
	}
	w := &walker{p, errs}
	before := len(*errs)
	n := w.value(v, name, diag.Pos{}, 0)
	if len(*errs) == before && len(p.blanked) == 0 && !p.tagMistakes { // whatever the walk did not meet
		if err := v.Validate(cue.Concrete(true)); err != nil {
			w.report(err, name, n.at, false)
		}
	}
	return n
}

// value makes the node of v. up is the place of what it is in.
func (w *walker) value(v cue.Value, path string, up diag.Pos, depth int) *node {
	n := &node{path: path, at: w.p.index.of(v, path)}
	if !n.at.IsValid() {
		n.at = up
	}
	n.label = w.p.index.label(path, n.at)
	if depth > maxDepth {
		w.errs.Addf(n.at, path, "nested too deeply: nothing in dlx's language is more than %d levels deep", maxDepth)
		return n
	}
	v, _ = v.Default()
	n.part = w.p.isBlank(n, v)
	switch v.Kind() {
	case cue.StructKind:
		w.fields(n, v, depth)
	case cue.ListKind:
		w.elems(n, v, depth)
	case cue.StringKind:
		n.kind = stringKind
		n.text, _ = v.String()
	case cue.IntKind, cue.FloatKind, cue.NumberKind:
		n.kind = floatKind
		if v.Kind() == cue.IntKind {
			n.kind = intKind
		}
		n.text = numberText(v)
	case cue.BoolKind:
		n.kind = boolKind
		b, _ := v.Bool()
		n.text = strconv.FormatBool(b)
	case cue.NullKind:
		n.kind = nullKind
	default:
		w.bad(n, v, depth)
	}
	return n
}

func (w *walker) fields(n *node, v cue.Value, depth int) bool {
	it, err := v.Fields(cue.Optional(true))
	if err != nil {
		return false
	}
	n.kind = structKind
	for it.Next() {
		if it.FieldType()&cue.OptionalConstraint != 0 {
			continue
		}
		name := it.Selector().Unquoted()
		n.fields = append(n.fields, field{name, w.value(it.Value(), join(n.path, name), n.at, depth+1)})
	}
	return true
}

func (w *walker) elems(n *node, v cue.Value, depth int) bool {
	n.kind = listKind
	for i := 0; ; i++ {
		e := v.LookupPath(cue.MakePath(cue.Index(i)))
		if !e.Exists() && (e.Err() == nil || !w.written(n.path, i)) {
			return i > 0
		}
		n.elems = append(n.elems, w.value(e, n.path+"["+strconv.Itoa(i)+"]", n.at, depth+1))
	}
}

func (w *walker) written(path string, i int) bool {
	_, ok := w.p.index.values[path+"["+strconv.Itoa(i)+"]"]
	return ok
}

// bad handles a value that is a mistake, holds one, or is not concrete.
func (w *walker) bad(n *node, v cue.Value, depth int) {
	err := v.Err()
	if n.part && err == nil || w.p.tagMistakes && len(v.Attributes(cue.ValueAttr)) > 0 {
		return
	}
	if err == nil {
		if v.IncompleteKind() == cue.ListKind {
			w.elems(n, v, depth)
			return
		}
		w.errs.Addf(n.at, n.path, "no value: %s", notConcrete(v))
		return
	}
	own := false // a mistake of this value itself, not of a part of it
	for _, e := range errors.Errors(err) {
		own = own || pathOf(e) == n.path
	}
	switch {
	case v.LookupPath(cue.MakePath(cue.Index(0))).Exists() && w.elems(n, v, depth):
	case w.fields(n, v, depth) && len(n.fields) > 0:
	default:
		n.kind, own = badKind, true
	}
	if own && !n.part {
		w.report(err, n.path, n.at, n.kind != badKind)
		if n.kind != badKind && len(n.fields)+len(n.elems) == 0 {
			n.kind = badKind
		}
	}
}

// report puts CUE's errors into the list. With onlyOwn, those of deeper paths are left to the walk.
func (w *walker) report(err error, path string, at diag.Pos, onlyOwn bool) {
	for _, m := range w.p.plain(err, path, at) {
		if !onlyOwn || m.Path == path {
			*w.errs = append(*w.errs, m)
		}
	}
}

// notConcrete says what is there instead of a value.
func notConcrete(v cue.Value) string {
	kinds := v.IncompleteKind().String()
	op, args := v.Expr()
	if op == cue.OrOp && len(args) > 1 {
		var alt []string
		for _, a := range args {
			if a.IsConcrete() {
				alt = append(alt, sourceText(a))
			}
		}
		if len(alt) == len(args) {
			return "it may be any of " + strings.Join(alt, ", ") + "; write one of them"
		}
	}
	if kinds == "_" {
		return "write one in place of _"
	}
	return "only its type (" + strings.ReplaceAll(strings.Trim(kinds, "()"), "|", " or ") + ") is given; write a value"
}

func sourceText(v cue.Value) string {
	if b, err := v.MarshalJSON(); err == nil {
		return clip(string(b))
	}
	return "?"
}

// maxPlain is the largest power of ten written without an exponent.
const maxPlain = 30

// numberText is the one decimal text of a number: no exponent unless it is huge or tiny, no
// trailing zeros after a point. It never goes through a binary fraction.
func numberText(v cue.Value) string {
	var m big.Int
	exp, err := v.MantExp(&m)
	if err != nil {
		return "?"
	}
	sign := ""
	if m.Sign() < 0 {
		sign = "-"
		m.Neg(&m)
	}
	digits := m.String()
	if digits == "0" {
		return "0"
	}
	for strings.HasSuffix(digits, "0") {
		digits, exp = digits[:len(digits)-1], exp+1
	}
	switch {
	case exp > maxPlain || exp < -maxPlain:
		return sign + digits + "e" + strconv.Itoa(exp)
	case exp >= 0:
		return sign + digits + strings.Repeat("0", exp)
	case -exp < len(digits):
		return sign + digits[:len(digits)+exp] + "." + digits[len(digits)+exp:]
	default:
		return sign + "0." + strings.Repeat("0", -exp-len(digits)) + digits
	}
}
