package executor

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"dlx.dev/dlx/compiler/plan"
)

// Two jobs on one machine get GPUs of their own, whichever is started first.
func TestProcessesOnAMachineShareNothing(t *testing.T) {
	c := &plan.Cell{Roles: []plan.Role{
		{Name: "background", Machines: []int{0}, GPUs: 1, CPUs: 2},
		{Name: "ps", Machines: []int{2}, CPUs: 1},
		{Name: "worker", Machines: []int{0, 1, 0}, GPUs: 2, CPUs: 1},
	}}
	want := map[string][]share{
		"background": {{0, 0}}, "ps": {{0, 0}}, "worker": {{2, 1}, {0, 0}, {3, 3}},
	}
	if d := cmp.Diff(want, shares(c), cmp.AllowUnexported(share{})); d != "" {
		t.Error(d)
	}
}
