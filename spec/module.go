package spec

import (
	"strconv"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/literal"
	"cuelang.org/go/cue/parser"

	"dlx.dev/dlx/spec/diag"
)

// OldestLanguage is the oldest version of the CUE language that the schema works with. A
// vendored package is read in the version of the module it is vendored in.
const OldestLanguage = "v0.14.0"

// checkModule checks the user's module file, if there is one, before CUE reads it. It returns
// whether the module has dependencies of its own, and false if there is no going on.
func (s *source) checkModule(errs *diag.List) (registry, ok bool) {
	text, err := s.read(s.moduleFile())
	if err != nil {
		return false, true
	}
	name, _ := s.rel(s.moduleFile())
	f, err := parser.ParseFile(s.moduleFile(), text)
	if err != nil {
		s.syntaxErrors(errs, err)
		return false, false
	}
	version, module := lookup(f.Decls, "language", "version"), lookup(f.Decls, "module")
	if module == nil {
		errs.Addf(diag.Pos{File: name, Line: 1, Col: 1}, "module", `missing; write module: "study.example"`)
		return false, false
	}
	if version == nil {
		errs.Addf(diag.Pos{File: name, Line: 1, Col: 1}, "language.version", "missing; write language: version: %q", OldestLanguage)
		return false, false
	}
	lit, isLit := version.(*ast.BasicLit)
	v := ""
	if isLit {
		v, _ = literal.Unquote(lit.Value)
	}
	at := s.pos(version.Pos())
	got, valid := versionNumbers(v)
	oldest, _ := versionNumbers(OldestLanguage)
	newest, _ := versionNumbers(cue.LanguageVersion())
	switch {
	case !valid:
		errs.Addf(at, "language.version", "found %s; a version such as %q is wanted", quote(v), OldestLanguage)
	case older(got, oldest):
		errs.Addf(at, "language.version", "found %s, but dlx's language needs %s or newer; write %q", v, OldestLanguage, OldestLanguage)
	case older(newest, got):
		errs.Addf(at, "language.version", "found %s, but this dlx reads versions up to %s; write %q", v, cue.LanguageVersion(), OldestLanguage)
	default:
		return lookup(f.Decls, "deps") != nil, true
	}
	return false, false
}

// lookup finds the value at a path of plain fields.
func lookup(decls []ast.Decl, path ...string) ast.Expr {
	for _, d := range decls {
		f, ok := d.(*ast.Field)
		if !ok {
			continue
		}
		if name, ok := labelName(f.Label); !ok || name != path[0] {
			continue
		}
		if len(path) == 1 {
			return f.Value
		}
		if st, ok := f.Value.(*ast.StructLit); ok {
			if v := lookup(st.Elts, path[1:]...); v != nil {
				return v
			}
		}
	}
	return nil
}

func versionNumbers(v string) (n [3]int, ok bool) {
	rest, ok := strings.CutPrefix(v, "v")
	parts := strings.Split(rest, ".")
	if !ok || len(parts) != 3 {
		return n, false
	}
	for i, p := range parts {
		p, _, _ = strings.Cut(p, "-")
		x, err := strconv.Atoi(p)
		if err != nil || x < 0 {
			return n, false
		}
		n[i] = x
	}
	return n, true
}

func older(a, b [3]int) bool {
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}
