package compiler

import (
	"slices"

	"dlx.dev/dlx/spec"
	"dlx.dev/dlx/spec/diag"
	"dlx.dev/dlx/spec/flags"
)

// checkFlags applies the rules of a kind of workload to resolved flags. A mistake points at the
// flag that breaks the rule, or, if that is a missing one, at one that takes part; the others
// are named as related places. at is where to point when no flag was written at all.
func checkFlags(kind string, all []spec.Setting, at diag.Pos) diag.List {
	in := make([]flags.Setting, len(all))
	for i, s := range all {
		in[i] = flags.Setting{Name: s.Axis, Value: s.Value.Text}
	}
	find := func(name string) (diag.Pos, bool) {
		i := slices.IndexFunc(all, func(s spec.Setting) bool { return s.Axis == name })
		if i < 0 {
			return diag.Pos{}, false
		}
		return all[i].Pos, all[i].Pos.IsValid()
	}
	var out diag.List
	for _, p := range flags.CheckFlags(kind, in) {
		e := &diag.Error{Pos: at, Path: p.Flag, Msg: p.Msg}
		if pos, ok := find(p.Flag); ok {
			e.Pos = pos
		}
		for _, w := range p.With {
			switch pos, ok := find(w); {
			case !ok:
			case e.Pos == at:
				e.Pos = pos
			case pos != e.Pos:
				e.Related = append(e.Related, pos)
			}
		}
		out = append(out, e)
	}
	return out
}
