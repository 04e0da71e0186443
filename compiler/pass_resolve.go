package compiler

import (
	"cmp"
	"slices"
	"strings"

	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/spec"
	"dlx.dev/dlx/spec/diag"
)

type excludedT = plan.Excluded

func excludedCell(c *cell, x *spec.Exclusion) plan.Excluded {
	return plan.Excluded{Cell: c.name, Reason: x.Reason}
}

// resolve gives each cell its flags, environment, roles, dataset and orchestration. Base values
// are beaten by bindings, those by overrides; overrides that meet in a cell must agree.
func (st *state) resolve() {
	st.checkOrchestrations()
	for i := range st.cells {
		c := &st.cells[i]
		st.resolveCell(c)
		st.orchestration(c)
		st.dataset(c)
		for j := range c.roles {
			c.roles[j].all = st.roleFlags(c, &c.roles[j])
		}
		st.checkFlags(c)
	}
}

func (st *state) resolveCell(c *cell) {
	w := &st.study.Workload
	flagSet := newSettings(st.scratch[0], w.Flags)
	defer func() { st.scratch[0] = flagSet }()
	for _, b := range w.Bind {
		if v, ok := c.value(b.Axis); ok {
			flagSet.base(spec.Setting{Axis: b.Flag, Value: v, Pos: b.Pos})
		}
	}
	env := newSettings(nil, w.Env)
	roles := map[string]*roleState{}
	for _, r := range w.Roles {
		roles[r.Name] = &roleState{role: r, flags: newSettings(nil, r.Flags), set: map[string]setting{}}
	}
	for i := range w.Overrides {
		o := &w.Overrides[i]
		if !c.meets(o.Where) {
			continue
		}
		for _, s := range o.Flags {
			st.override(c, &flagSet, s, "flag")
		}
		for _, s := range o.Env {
			st.override(c, &env, s, "variable")
		}
		for j := range o.Roles {
			ch := &o.Roles[j]
			r := roles[ch.Name]
			if r == nil {
				r = &roleState{role: spec.Role{Name: ch.Name, Count: 1, Finish: spec.Exits, Pos: ch.Pos}, flags: newSettings(nil, nil), set: map[string]setting{}}
				roles[ch.Name] = r
			}
			st.changeRole(c, r, ch)
		}
	}
	c.flags, c.env = flagSet.list(), env.list()
	for _, r := range roles {
		if r.role.Count > 0 {
			c.roles = append(c.roles, role{Role: r.role, flags: r.flags.list()})
		}
	}
	slices.SortFunc(c.roles, func(a, b role) int { return strings.Compare(a.Name, b.Name) })
	if len(c.roles) == 0 && !st.study.Incomplete {
		st.errs.Addf(w.Pos, "study.workload.roles", "cell %s has no role: give at least one with a count above 0", c.name)
	}
}

// settings are named values, by name, of which some came from overrides.
type settings []setting

type setting struct {
	spec.Setting
	override bool
}

// newSettings makes settings, in the memory of others that are no longer needed.
func newSettings(old settings, base []spec.Setting) settings {
	s := slices.Grow(old[:0], len(base))
	for _, b := range base {
		s.base(b)
	}
	return s
}

func (s settings) find(name string) (int, bool) {
	return slices.BinarySearchFunc(s, name, func(e setting, name string) int { return strings.Compare(e.Axis, name) })
}

func (s settings) has(name string) bool {
	_, ok := s.find(name)
	return ok
}

func (s *settings) set(v setting) {
	i, ok := s.find(v.Axis)
	if ok {
		(*s)[i] = v
		return
	}
	*s = slices.Insert(*s, i, v)
}

func (s *settings) base(v spec.Setting) { s.set(setting{v, false}) }

func (s settings) list() []spec.Setting {
	out := make([]spec.Setting, len(s))
	for i, v := range s {
		out[i] = v.Setting
	}
	return out
}

// override sets a value, and reports it when another override set it otherwise.
func (st *state) override(c *cell, s *settings, v spec.Setting, what string) {
	if i, ok := s.find(v.Axis); ok && (*s)[i].override && (*s)[i].Value.Text != v.Value.Text {
		st.contradiction(c, what+" "+v.Axis, (*s)[i].Setting, v)
		return
	}
	s.set(setting{v, true})
}

func (st *state) contradiction(c *cell, what string, old, now spec.Setting) {
	st.once(&diag.Error{
		Pos: now.Pos, Path: "study.workload", Related: []diag.Pos{old.Pos},
		Msg: "overrides contradict each other: " + what + " is both " + old.Value.Text + " and " + now.Value.Text + " in cell " + c.name +
			"; narrow one of them",
	}, what+old.Pos.String())
}

type roleState struct {
	role  spec.Role
	flags settings
	set   map[string]setting // fields that overrides gave
}

func (st *state) changeRole(c *cell, r *roleState, ch *spec.RoleChange) {
	text := func(field, value string) bool {
		v := spec.Setting{Axis: field, Value: spec.Value{Text: value}, Pos: ch.Pos}
		if old, ok := r.set[field]; ok && old.Value.Text != value {
			st.contradiction(c, "role "+ch.Name+": "+field, old.Setting, v)
			return false
		}
		r.set[field] = setting{v, true}
		return true
	}
	number := func(field string, from *int, to *int) {
		if from != nil && text(field, itoa(*from)) {
			*to = *from
		}
	}
	number("count", ch.Count, &r.role.Count)
	number("cpus", ch.CPUs, &r.role.CPUs)
	number("gpus", ch.GPUs, &r.role.GPUs)
	number("memoryMiB", ch.MemoryMiB, &r.role.MemoryMiB)
	if ch.Finish != nil && text("finish", *ch.Finish) {
		r.role.Finish = *ch.Finish
	}
	if ch.On != nil && text("on", *ch.On) {
		r.role.On = *ch.On
	}
	if ch.Beside != nil && text("beside", *ch.Beside) {
		r.role.Beside = *ch.Beside
	}
	if ch.Artifacts != nil && text("artifacts", strings.Join(ch.Artifacts, " ")) {
		r.role.Artifacts = ch.Artifacts
	}
	for _, s := range ch.Flags {
		st.override(c, &r.flags, s, "role "+ch.Name+": flag")
	}
}

// checkOrchestrations reports, once each, values of the axis that the testbed does not have.
func (st *state) checkOrchestrations() {
	seen := map[string]bool{}
	for _, c := range st.cells {
		v, ok := c.value("orchestration")
		if !ok || seen[v.Text] {
			continue
		}
		seen[v.Text] = true
		if st.findOrchestration(v.Text) == nil && !st.study.Incomplete {
			st.errs.Addf(v.Pos, "study.axes.orchestration", "testbed %q has no orchestration %q (it has: %s): exclude it, or add it to the testbed",
				st.testbed.Name, v.Text, names(st.testbed.Orchestrations, func(o *spec.Orchestration) string { return o.Name }))
		}
	}
}

func (st *state) findOrchestration(name string) *spec.Orchestration {
	for i := range st.testbed.Orchestrations {
		if st.testbed.Orchestrations[i].Name == name {
			return &st.testbed.Orchestrations[i]
		}
	}
	return nil
}

func (st *state) orchestration(c *cell) {
	if v, ok := c.value("orchestration"); ok {
		c.orch = st.findOrchestration(v.Text)
		return
	}
	if len(st.testbed.Orchestrations) == 1 {
		c.orch = &st.testbed.Orchestrations[0]
		return
	}
	if !st.study.Incomplete {
		st.errs.Addf(st.study.Pos, "study.axes", "no axis \"orchestration\", and testbed %q has several (%s): add the axis with at least one of them",
			st.testbed.Name, names(st.testbed.Orchestrations, func(o *spec.Orchestration) string { return o.Name }))
	}
}

func (st *state) dataset(c *cell) {
	v, ok := c.value("dataset")
	if !ok || v.Text == "synthetic" {
		return
	}
	for i := range st.study.Datasets {
		if st.study.Datasets[i].Name == v.Text {
			c.data = &st.study.Datasets[i]
			return
		}
	}
	if !st.study.Incomplete {
		st.errs.Addf(v.Pos, "study.axes.dataset", "dataset %q is not declared (declared: %s): add study.datasets.%s",
			v.Text, names(st.study.Datasets, func(d *spec.Dataset) string { return d.Name }), v.Text)
	}
}

// checkFlags applies the workload's own rules to the flags of each role of the cell. The same
// mistake in many cells is reported once, with the first of them.
func (st *state) checkFlags(c *cell) {
	kind := st.study.Workload.Kind
	if kind == spec.Command {
		return
	}
	for i := range c.roles {
		for _, p := range checkFlags(kind, c.roles[i].all, c.roles[i].Pos) {
			what := p.Msg
			p.Path = "study.workload.flags." + p.Path
			p.Msg += " (in cell " + c.name + ")"
			st.once(p, what)
		}
	}
}

// roleFlags joins the cell's flags with the role's own, which win, and what the dataset adds.
func (st *state) roleFlags(c *cell, r *role) []spec.Setting {
	s := newSettings(st.scratch[1], c.flags)
	defer func() { st.scratch[1] = s }()
	if st.study.Workload.Kind != spec.Command {
		for _, f := range clusterFlags(c, r) {
			s.base(f)
		}
	}
	for _, f := range r.flags {
		s.base(f)
	}
	if c.data != nil && st.study.Workload.Kind != spec.Command {
		if !s.has("data_dir") {
			s.base(spec.Setting{Axis: "data_dir", Value: spec.Value{Text: cmp.Or(c.data.Path, "generated")}, Pos: c.data.Pos})
		}
		if !s.has("data_name") {
			s.base(spec.Setting{Axis: "data_name", Value: spec.Value{Text: c.data.Name}, Pos: c.data.Pos})
		}
	}
	return s.list()
}
