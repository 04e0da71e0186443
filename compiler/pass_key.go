package compiler

import "dlx.dev/dlx/compiler/plan"

// key moves the finished cells into the plan and gives each its key.
func (st *state) key() {
	if len(st.errs) > 0 || st.study.Incomplete {
		return // a fleet or a role may be missing
	}
	for i := range st.cells {
		st.plan.Cells = append(st.plan.Cells, st.cells[i].out)
	}
	for i := range st.plan.Cells {
		c := &st.plan.Cells[i]
		c.Key = plan.KeyOf(st.plan.Components(c))
	}
}
