package compiler

import (
	"slices"
	"strings"

	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/spec/diag"
)

// sources notes which place in the user's files asked for what.
func (st *state) sources() {
	add := func(id string, pos diag.Pos) {
		if pos.IsValid() {
			st.plan.Sources = append(st.plan.Sources, plan.Source{ID: id, Pos: pos})
		}
	}
	for i := range st.cells {
		add("cell/"+st.cells[i].name, st.cells[i].pos)
	}
	for i, pos := range st.fleetAt {
		add("fleet/"+st.plan.Fleets[i].Name, pos)
	}
	for _, b := range st.study.Blocks {
		add("block/"+b.Name, b.Pos)
	}
	for _, f := range st.study.Figures {
		add("figure/"+f.Name, f.Pos)
	}
	slices.SortFunc(st.plan.Sources, func(a, b plan.Source) int { return strings.Compare(a.ID, b.ID) })
}
