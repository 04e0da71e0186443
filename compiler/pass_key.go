package compiler

import (
	"fmt"
	"strings"

	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/spec/diag"
)

// key moves the finished cells into the plan and gives each its key.
func (st *state) key() {
	if len(st.errs) > 0 || st.study.Incomplete {
		return // a fleet or a role may be missing
	}
	for i := range st.cells {
		st.plan.Cells = append(st.plan.Cells, st.cells[i].out)
	}
	first := make(map[string]int, len(st.cells))
	for i := range st.plan.Cells {
		c := &st.plan.Cells[i]
		c.Key = plan.KeyOf(st.plan.Components(c))
		if k, ok := first[c.Key]; ok {
			st.same(&st.cells[k], &st.cells[i])
		} else {
			first[c.Key] = i
		}
	}
}

// same reports two cells that run the very same thing: an axis that changes nothing would be
// shown as if it had been compared.
func (st *state) same(a, b *cell) {
	var differ []string
	pos := b.pos
	for _, s := range b.axes {
		if v, ok := a.value(s.Axis); !ok || v.Text != s.Value.Text {
			differ = append(differ, s.Axis)
			pos = s.Pos
		}
	}
	for _, s := range a.axes {
		if _, ok := b.value(s.Axis); !ok {
			differ = append(differ, s.Axis)
		}
	}
	axes := strings.Join(differ, ", ")
	st.once(&diag.Error{Pos: pos, Path: "study.axes." + differ[0], Msg: fmt.Sprintf(
		"cells %s and %s run the very same thing: %s changes nothing; bind it to a flag, or use it in per, overrides or the program's words",
		a.name, b.name, axes,
	)}, axes)
}
