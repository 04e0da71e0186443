package spec

import (
	"strconv"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/build"
	"cuelang.org/go/cue/literal"
	"cuelang.org/go/cue/token"

	"dlx.dev/dlx/spec/diag"
)

// An index knows where the user wrote each field, read from the syntax: CUE's values keep no
// place for labels, nor for values that come from -t.
type index struct {
	src    *source
	files  map[string]string     // CUE's name of a file -> the user's; "" for one that is not the user's
	labels map[string]diag.Pos   // path -> label, the first written
	values map[string][]diag.Pos // path -> what follows the colon, each time it is written
	byExpr map[diag.Pos]diag.Pos // place of a field's value -> its label; also in imported files
}

func newIndex(s *source, inst *build.Instance) *index {
	x := &index{src: s, files: map[string]string{}, labels: map[string]diag.Pos{}, values: map[string][]diag.Pos{}, byExpr: map[diag.Pos]diag.Pos{}}
	for _, f := range inst.Files {
		x.decls("", f.Decls)
	}
	seen := map[*build.Instance]bool{inst: true}
	var imports func(*build.Instance)
	imports = func(in *build.Instance) {
		for _, dep := range in.Imports {
			if seen[dep] {
				continue
			}
			seen[dep] = true
			for _, f := range dep.Files {
				if _, ok := s.rel(f.Filename); ok {
					x.expr("(import "+dep.ImportPath+")", &ast.StructLit{Elts: f.Decls})
				}
			}
			imports(dep)
		}
	}
	imports(inst)
	for _, f := range inst.Files { // fields in comprehensions and nested definitions
		ast.Walk(f, func(n ast.Node) bool {
			if field, ok := n.(*ast.Field); ok {
				x.byExprOf(field)
			}
			return true
		}, nil)
	}
	return x
}

func (x *index) byExprOf(f *ast.Field) {
	v, l := x.pos(f.Value.Pos()), x.pos(f.Label.Pos())
	if _, ok := x.byExpr[v]; !ok && v.IsValid() && l.IsValid() {
		x.byExpr[v] = l
	}
}

func (x *index) decls(path string, decls []ast.Decl) {
	for _, d := range decls {
		switch d := d.(type) {
		case *ast.Field:
			x.byExprOf(d)
			name, ok := labelName(d.Label)
			if !ok {
				continue
			}
			p := join(path, name)
			if _, ok := x.labels[p]; !ok {
				x.labels[p] = x.pos(d.Label.Pos())
			}
			x.expr(p, d.Value)
		case *ast.EmbedDecl:
			x.expr(path, d.Expr)
		}
	}
}

// expr notes the value at a path and descends as far as its form is plain.
func (x *index) expr(path string, e ast.Expr) {
	if p := x.pos(e.Pos()); p.IsValid() {
		x.values[path] = append(x.values[path], p)
	}
	switch e := e.(type) {
	case *ast.StructLit:
		x.decls(path, e.Elts)
	case *ast.ParenExpr:
		x.inner(path, e.X)
	case *ast.BinaryExpr:
		if e.Op == token.AND {
			x.inner(path, e.X)
			x.inner(path, e.Y)
		}
	case *ast.ListLit:
		for i, el := range e.Elts {
			switch el.(type) {
			case *ast.Comprehension, *ast.Ellipsis:
				return
			}
			x.expr(path+"["+strconv.Itoa(i)+"]", el)
		}
	}
}

// inner descends into a part of an expression whose place is known already.
func (x *index) inner(path string, e ast.Expr) {
	switch e.(type) {
	case *ast.StructLit, *ast.ParenExpr, *ast.BinaryExpr, *ast.ListLit:
		x.expr(path, e)
	}
}

func labelName(l ast.Label) (string, bool) {
	name, _, err := ast.LabelName(l)
	if err != nil || strings.HasPrefix(name, "_") || strings.HasPrefix(name, "#") {
		return "", false
	}
	return name, true
}

// join adds a field's name to a path, quoted where CUE would.
func join(path, name string) string {
	if !ast.IsValidIdent(name) || strings.HasPrefix(name, "_") || strings.HasPrefix(name, "#") {
		name = literal.String.Quote(name)
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

// pos converts a place; the zero Pos is returned for one that is not in a file of the user's.
func (x *index) pos(p token.Pos) diag.Pos {
	if !p.IsValid() {
		return diag.Pos{}
	}
	at := p.Position()
	file, known := x.files[at.Filename]
	if !known {
		file, _ = x.src.rel(at.Filename)
		x.files[at.Filename] = file
	}
	return posIn(file, at)
}

func (s *source) pos(p token.Pos) diag.Pos {
	if !p.IsValid() {
		return diag.Pos{}
	}
	at := p.Position()
	file, _ := s.rel(at.Filename)
	return posIn(file, at)
}

func posIn(file string, at token.Position) diag.Pos {
	if file == "" || at.Line < 1 {
		return diag.Pos{}
	}
	return diag.Pos{File: file, Line: at.Line, Col: max(at.Column, 1)}
}

// of is the place of a value: its own text, else what it is made of, else where its field is
// written, else nothing.
func (x *index) of(v cue.Value, path string) diag.Pos {
	if src := v.Source(); src != nil {
		switch n := src.(type) {
		case *ast.File, *ast.Package:
		case *ast.Field:
			if p := x.pos(n.Value.Pos()); p.IsValid() {
				return p
			}
		default:
			if p := x.pos(n.Pos()); p.IsValid() {
				return p
			}
		}
	}
	if at := x.values[path]; len(at) > 0 {
		return at[0]
	}
	if p := x.pos(v.Pos()); p.IsValid() {
		return p
	}
	return x.leaf(v, 0)
}

func (x *index) leaf(v cue.Value, depth int) diag.Pos {
	op, args := v.Expr()
	if op == cue.NoOp || depth > 8 {
		return x.pos(v.Pos())
	}
	for _, a := range args {
		if p := x.leaf(a, depth+1); p.IsValid() {
			return p
		}
	}
	return diag.Pos{}
}

// label is the place of a field's name; v and at are its value and that one's place.
func (x *index) label(path string, at diag.Pos) diag.Pos {
	if p, ok := x.labels[path]; ok && p.IsValid() {
		return p
	}
	if p, ok := x.byExpr[at]; ok {
		return p
	}
	return at
}
