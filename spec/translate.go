package spec

import (
	"fmt"
	"strings"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/errors"

	"dlx.dev/dlx/spec/diag"
	"dlx.dev/dlx/spec/words"
)

func pathOf(e errors.Error) string {
	p := ""
	for _, s := range e.Path() {
		switch {
		case s != "" && strings.Trim(s, "0123456789") == "":
			p += "[" + s + "]"
		case p == "":
			p = s
		default:
			p += "." + s
		}
	}
	return p
}

// plain puts CUE's errors into the user's words. path and at stand in for errors without a path
// or a place of their own. One mistake that CUE reports several times becomes one.
func (p *pkg) plain(err error, path string, at diag.Pos) diag.List {
	var out diag.List
	byPath := map[string][]errors.Error{}
	var order []string
	for _, e := range errors.Errors(err) {
		ep := pathOf(e)
		if ep == "" || !strings.HasPrefix(ep, path) {
			ep = path
		}
		if byPath[ep] == nil {
			order = append(order, ep)
		}
		byPath[ep] = append(byPath[ep], e)
	}
	for _, ep := range order {
		fallback := at
		if v := p.index.values[ep]; len(v) > 0 {
			fallback = v[0]
		}
		out = append(out, p.plainGroup(byPath[ep], ep, fallback)...)
	}
	return out
}

// plainGroup handles the errors of one path.
func (p *pkg) plainGroup(es []errors.Error, path string, at diag.Pos) diag.List {
	for _, e := range es { // a disjunction: its branches follow one by one
		if f, _ := e.Msg(); strings.Contains(f, "empty disjunction") {
			return diag.List{{Pos: p.best(e, at), Path: path, Msg: "the values written for it contradict each other; none is left"}}
		}
	}
	var out diag.List
	seen := map[string]bool{}
	for _, e := range es {
		m := &diag.Error{Pos: p.best(e, at), Path: path, Msg: plainText(e)}
		format, _ := e.Msg()
		if strings.HasPrefix(format, "conflicting values") {
			var places []diag.Pos
			for _, q := range p.places(e) {
				if own := p.index.values[path]; len(own) == 0 || contains(own, q) || q.File != m.Pos.File {
					places = append(places, q)
				}
			}
			if len(places) > 1 {
				m.Pos, m.Related = places[0], places[1:]
			}
		}
		if strings.HasPrefix(format, "reference %q not found") || strings.HasPrefix(format, "undefined field") {
			if near, at := p.declared(e); near != "" {
				m.Msg += "; did you mean " + quote(near) + "?"
				m.Related = see(at)
			}
		}
		if strings.HasPrefix(format, "invalid value") {
			for _, q := range p.places(e) {
				if q != m.Pos {
					m.Related = append(m.Related, q)
				}
			}
		}
		if key := m.Pos.String() + m.Msg; !seen[key] {
			seen[key] = true
			out = append(out, m)
		}
	}
	if len(out) > 1 && strings.HasPrefix(out[0].Msg, "two values") { // said once for each pair
		out = out[:1]
	}
	return out
}

// declared finds the field of the package whose name is nearest to one that is not there.
func (p *pkg) declared(e errors.Error) (name string, at diag.Pos) {
	_, args := e.Msg()
	if len(args) == 0 {
		return "", diag.Pos{}
	}
	places := map[string]diag.Pos{}
	var names []string
	for _, f := range p.inst.Files {
		ast.Walk(f, func(n ast.Node) bool {
			if field, ok := n.(*ast.Field); ok {
				label, _, err := ast.LabelName(field.Label)
				if at := p.index.pos(field.Label.Pos()); err == nil && at.IsValid() && !places[label].IsValid() {
					places[label] = at
					names = append(names, label)
				}
			}
			return true
		}, nil)
	}
	name = words.Nearest(fmt.Sprint(args[0]), names)
	return name, places[name]
}

func contains(list []diag.Pos, p diag.Pos) bool {
	for _, q := range list {
		if p == q {
			return true
		}
	}
	return false
}

// places are the user's places of an error, in order, each once.
func (p *pkg) places(e errors.Error) []diag.Pos {
	var out []diag.Pos
	for _, t := range errors.Positions(e) {
		if q := p.index.pos(t); q.IsValid() && !contains(out, q) {
			out = append(out, q)
		}
	}
	return out
}

// best is where to look first.
func (p *pkg) best(e errors.Error, at diag.Pos) diag.Pos {
	format, _ := e.Msg()
	if strings.HasPrefix(format, "invalid value") && len(p.index.values[pathOf(e)]) > 0 {
		return at // the value rather than the condition
	}
	if q := p.index.pos(e.Position()); q.IsValid() {
		return q
	}
	if at.IsValid() && !strings.HasPrefix(format, "field not allowed") {
		return at
	}
	if all := p.places(e); len(all) > 0 {
		return all[len(all)-1]
	}
	return at
}

const refusedText = "a definition that it is checked against has no such field; correct the name or remove it"

// plainText says a CUE error without CUE's terms.
func plainText(e errors.Error) string {
	format, args := e.Msg()
	s := func(i int) string {
		if i >= len(args) {
			return "?"
		}
		return clip(fmt.Sprint(args[i]))
	}
	has := func(prefix string) bool { return strings.HasPrefix(format, prefix) }
	switch {
	case has("conflicting values"):
		return fmt.Sprintf("two values, %s and %s, where there can be one; remove one of them", s(0), s(1))
	case has("builtin package %q undefined"):
		return fmt.Sprintf("CUE has no package %q; one of the study's own is imported by the path of its module", s(0))
	case has("package %q imported but not defined"):
		return fmt.Sprintf("there is no package %q", s(0))
	case has("imported and not used"):
		return fmt.Sprintf("%s is imported and not used; remove it", s(0))
	case has("reference %q not found") && s(0) == "dlx":
		return fmt.Sprintf("dlx is not imported; write import %q below the package clause", SchemaPath)
	case has("reference %q not found"):
		return fmt.Sprintf("%q is not defined anywhere; define it, or quote it if a string is meant", s(0))
	case has("undefined field"):
		if strings.HasPrefix(s(0), "#") {
			return fmt.Sprintf("there is no definition %s%s", s(0), words.DidYouMean(s(0), definitions))
		}
		return fmt.Sprintf("there is no field %s", s(0))
	case has("invalid value"):
		return fmt.Sprintf("%s does not meet the condition %s written for it", s(0), s(1))
	case has("incomplete value"):
		return fmt.Sprintf("no value: only %s is given; write a value", s(0))
	case has("non-concrete"), has("invalid operand %s ('%s' requires concrete"), has("unresolved"), has("incomplete"),
		has("cannot call non-concrete"), has("invalid interpolation: non-concrete"):
		return "made from something that has no value yet; give that one a value"
	case has("field not allowed"):
		return refusedText
	case has("field is required but not present"):
		return "a definition that it is checked against requires it; write a value"
	case has("structural cycle"), has("cycle"), has("cyclic"):
		return "defined by itself; write a value instead"
	case has("incompatible list lengths"):
		return fmt.Sprintf("two lists, of %s and of %s values, where there can be one; remove one of them", s(0), s(1))
	case has("index out of range"), has("index %d out of range"), has("invalid list index"):
		return "the list has no element of that number"
	case has("explicit error"):
		return "_|_ stands for a mistake; write a value"
	}
	msg := e.Error()
	if i := strings.Index(msg, ": "); i >= 0 && len(e.Path()) > 0 && strings.HasPrefix(msg, strings.Join(e.Path(), ".")) {
		msg = msg[i+2:]
	}
	return cleanText(msg)
}

var jargon = strings.NewReplacer(
	"incomplete value", "missing value",
	"empty disjunction", "no alternative left",
	"non-concrete", "missing",
	"disjunction", "choice",
	"_|_", "mistake",
	"'EOF'", "the end of the file",
	"EOF", "end of file",
	"'STRING' ", "",
	"'IDENT' ", "",
	"'INT' ", "",
	"'FLOAT' ", "",
)

// definitions are those of the schema that a study starts from.
var definitions = []string{"#CNNBench", "#Command", "#Elapsed", "#Metric", "#Study", "#TFCNN", "#Testbed", "#Throughput"}

// cleanText makes one line without CUE's terms of a message that dlx has no words for.
func cleanText(msg string) string {
	msg, _, _ = strings.Cut(strings.TrimSpace(msg), "\n")
	return clipTo(jargon.Replace(strings.TrimSuffix(msg, ".")), 300)
}
