// Package compiler turns a study and a testbed into a plan. It is pure: no I/O, no clock, and
// the same input gives the same bytes.
//
// A compilation is a row of passes over one state, one pass a file:
//
//	expand    blocks become cells: products, zips, conditional axes, inclusions, exclusions
//	resolve   overrides give each cell its flags, environment and roles
//	place     roles get machines; cells with the same needs share a fleet
//	args      flags and late values become the arguments of each role
//	key       each cell gets the hash of all that can change its result
//	schedule  trials get their order, and the steps their DAG
//	figures   figures and metrics are carried over
//	method    warnings about what the numbers will not be able to say
//	sources   places in the user's files, apart from all else
//
// Every mistake is reported with its place; a pass goes on past mistakes so that all of them
// come out at once.
package compiler

import (
	"fmt"
	"slices"
	"strings"

	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/spec"
	"dlx.dev/dlx/spec/diag"
)

// Options change a compilation from outside the study.
type Options struct {
	Repeats  int                    // in place of the study's; 0: the study's
	Only     []plan.Condition       // keep only the cells that meet all of these
	Versions map[string]string      // versions of the programs dlx brings itself, by workload kind; part of the keys
	Caveats  map[string]plan.Caveat // by backend: what a result of it must be marked with
	Rehearse bool                   // by a model of the machines, in place of each cloud
}

// state is what the passes work on.
type state struct {
	study   *spec.Study
	testbed *spec.Testbed
	opt     Options
	errs    diag.List
	cells   []cell
	plan    *plan.Plan
	fleetAt []diag.Pos      // by fleet
	scratch [2]settings     // of a cell and of a role, to be used again
	said    map[string]bool // what was reported for one cell and would be for many
}

// once reports a mistake that many cells may share for the first of them only.
func (st *state) once(e *diag.Error, what string) {
	k := e.Pos.String() + " " + what
	if st.said[k] {
		return
	}
	if st.said == nil {
		st.said = map[string]bool{}
	}
	st.said[k] = true
	st.errs = append(st.errs, e)
}

// cell is a cell on its way to becoming a plan.Cell.
type cell struct {
	name  string
	block string
	axes  []spec.Setting // by name
	pos   diag.Pos       // of what asked for it
	flags []spec.Setting // by name, resolved
	env   []spec.Setting
	roles []role
	orch  *spec.Orchestration
	data  *spec.Dataset // nil: synthetic
	out   plan.Cell
}

type role struct {
	spec.Role
	flags    []spec.Setting // its own
	all      []spec.Setting // with the cell's and the dataset's, by name
	machines []int
}

func (c *cell) value(axis string) (spec.Value, bool) {
	for _, s := range c.axes {
		if s.Axis == axis {
			return s.Value, true
		}
	}
	return spec.Value{}, false
}

// meets reports whether the cell meets all conditions; an axis it lacks meets none.
func (c *cell) meets(where []spec.Condition) bool {
	return meets(c.axes, where)
}

func meets(axes []spec.Setting, where []spec.Condition) bool {
	for _, w := range where {
		i := slices.IndexFunc(axes, func(s spec.Setting) bool { return s.Axis == w.Axis })
		if i < 0 || !slices.ContainsFunc(w.Values, func(v spec.Value) bool { return v.Text == axes[i].Value.Text }) {
			return false
		}
	}
	return true
}

// Compile compiles. The error is a diag.List of every mistake found; the plan is nil then. An
// Options.Only that speaks of an unknown axis or value is an error of another kind. A
// study that is Incomplete is looked through for further mistakes and never gives a plan.
func Compile(s *spec.Study, t *spec.Testbed, o Options) (*plan.Plan, error) {
	st := &state{study: s, testbed: t, opt: o, plan: &plan.Plan{
		Format: plan.Format, Study: s.Name, Title: s.Title, Testbed: t.Name, Repeats: s.Repeats,
	}}
	if o.Repeats > 0 {
		st.plan.Repeats = o.Repeats
	}
	if err := st.checkOnly(); err != nil {
		return nil, err
	}
	for _, pass := range []func(){
		st.expand, st.resolve, st.place, st.args, st.key, st.schedule, st.figures, st.method, st.sources,
	} {
		pass()
	}
	if err := st.errs.Err(); err != nil {
		return nil, err
	}
	if s.Incomplete {
		return nil, nil
	}
	if err := st.plan.Validate(); err != nil {
		return nil, fmt.Errorf("compiler: plan of study %q: %w", s.Name, err)
	}
	return st.plan, nil
}

// names joins words for "known: a, b".
func names[T any](list []T, name func(*T) string) string {
	out := make([]string, len(list))
	for i := range list {
		out[i] = name(&list[i])
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), ", ")
}
