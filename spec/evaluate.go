package spec

import (
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/build"
	"cuelang.org/go/cue/cuecontext"
	"cuelang.org/go/cue/errors"

	"dlx.dev/dlx/spec/diag"
)

// evaluate gives the package its value. One name that is not defined, or one import that is not
// used, keeps CUE from evaluating anything: those are reported, and taken out, so that all other
// mistakes are found in the same pass.
func (p *pkg) evaluate(errs *diag.List, registry bool) {
	p.value = cuecontext.New().BuildInstance(p.inst)
	names, imports := p.unresolved()
	if len(names)+len(imports) == 0 {
		return
	}
	said := map[string]bool{} // one name in one file is one mistake
	for _, m := range p.plain(p.value.Err(), "", p.packageAt()) {
		m.Path = ""
		if key := m.Pos.File + m.Msg; !said[key] {
			said[key] = true
			*errs = append(*errs, m)
		}
	}
	inst := p.src.instance(false, p.src.tags, registry)
	if inst.Err != nil {
		return
	}
	inst.ResolutionErr = nil // unused imports, which were reported
	p.takeOut(inst, names)
	p.inst, p.value, p.blanked = inst, cuecontext.New().BuildInstance(inst), names
}

// unresolved returns the places of undefined names and of unused imports.
func (p *pkg) unresolved() (names, imports map[diag.Pos]bool) {
	names, imports = map[diag.Pos]bool{}, map[diag.Pos]bool{}
	for _, e := range errors.Errors(p.value.Err()) {
		format, _ := e.Msg()
		switch at := p.index.pos(e.Position()); {
		case !at.IsValid():
		case strings.HasPrefix(format, "reference %q not found"):
			names[at] = true
		case strings.HasPrefix(format, "imported and not used"):
			imports[at] = true
		}
	}
	return names, imports
}

// takeOut turns undefined names into _, which is any value.
func (p *pkg) takeOut(inst *build.Instance, names map[diag.Pos]bool) {
	for _, f := range inst.Files {
		ast.Walk(f, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok && names[p.index.pos(id.Pos())] {
				id.Name = "_"
			}
			return true
		}, nil)
	}
}

// isBlank reports whether a value, or what it is made of, was a name that is not defined.
func (p *pkg) isBlank(n *node, v cue.Value) bool {
	if len(p.blanked) == 0 {
		return false
	}
	for _, at := range p.index.values[n.path] {
		if p.blanked[at] {
			return true
		}
	}
	return p.blanked[n.at] || p.blanked[p.index.pos(v.Pos())]
}
