package compiler

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/spec"
	"dlx.dev/dlx/spec/diag"
)

func itoa(n int) string { return strconv.Itoa(n) }

// place gives every process a machine and every cell a fleet: cells of one orchestration that
// need the same number of machines share one.
func (st *state) place() {
	type shape struct {
		orch string
		n    int
	}
	type found struct {
		fleet plan.Fleet
		pos   diag.Pos
		cells []int
	}
	fleets := map[shape]*found{}
	for i := range st.cells {
		c := &st.cells[i]
		n := st.machines(c)
		if c.orch == nil || n == 0 {
			continue
		}
		s := shape{c.orch.Name, n}
		f := fleets[s]
		if f == nil {
			f = &found{fleet: st.fleet(c.orch, n), pos: c.orch.Pos}
			fleets[s] = f
		}
		f.cells = append(f.cells, i)
	}
	order := make([]*found, 0, len(fleets))
	for _, f := range fleets {
		order = append(order, f)
	}
	slices.SortFunc(order, func(a, b *found) int { return strings.Compare(a.fleet.Name, b.fleet.Name) })
	for i, f := range order {
		for _, k := range f.cells {
			st.cells[k].out.Fleet = i
			st.stage(&st.cells[k], &f.fleet)
		}
		slices.SortFunc(f.fleet.Stages, func(a, b plan.Staging) int { return strings.Compare(a.Name, b.Name) })
		st.fits(&f.fleet, &st.cells[f.cells[0]])
		st.plan.Fleets = append(st.plan.Fleets, f.fleet)
		st.fleetAt = append(st.fleetAt, f.pos)
	}
	st.clouds()
}

// machines numbers the machines of a cell: each process of a role has its own, but for roles
// that stand on the machines of another. It returns how many there are.
func (st *state) machines(c *cell) int {
	n := 0
	for i := range c.roles {
		r := &c.roles[i]
		if r.On == "" {
			for range r.Count {
				r.machines = append(r.machines, n)
				n++
			}
		}
	}
	for i := range c.roles {
		r := &c.roles[i]
		if r.On == "" {
			continue
		}
		k := slices.IndexFunc(c.roles, func(o role) bool { return o.Name == r.On && o.On == "" })
		if k < 0 {
			st.once(&diag.Error{Pos: r.Pos, Path: "study.workload.roles." + r.Name, Msg: fmt.Sprintf(
				"role %q stands on role %q, which cell %s lacks or which stands on another itself", r.Name, r.On, c.name,
			)}, r.On)
			return 0
		}
		for j := range r.Count {
			r.machines = append(r.machines, c.roles[k].machines[j%len(c.roles[k].machines)])
		}
	}
	return n
}

func (st *state) fleet(o *spec.Orchestration, n int) plan.Fleet {
	f := plan.Fleet{Name: label(o.Name) + "-" + itoa(n), Cloud: o.Cloud, Orchestration: o.Name}
	for i := range n {
		f.Machines = append(f.Machines, plan.Machine{Name: "m" + itoa(i), Spec: o.Machine})
	}
	for _, u := range o.Uses {
		f.Uses = append(f.Uses, plan.Amount{Resource: u.Resource, Units: u.Units * n})
	}
	slices.SortFunc(f.Uses, func(a, b plan.Amount) int { return strings.Compare(a.Resource, b.Resource) })
	return f
}

// label makes a DNS label of a name that already consists of [A-Za-z0-9._+-].
func label(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		default:
			return '-'
		}
	}, s)
}

// Names of what dlx stages by itself.
const selfStage = "dlx"

// stage notes what the cell needs on the machines of its fleet.
func (st *state) stage(c *cell, f *plan.Fleet) {
	need := func(s plan.Staging) {
		c.out.Stages = append(c.out.Stages, s.Name)
		if !slices.ContainsFunc(f.Stages, func(o plan.Staging) bool { return o.Name == s.Name }) {
			f.Stages = append(f.Stages, s)
		}
	}
	if d := c.data; d != nil {
		p := plan.Dataset{Name: d.Name, Path: d.Path, Checksum: d.Checksum}
		if d.Generate != nil {
			p.Images, p.Seed = d.Generate.Images, d.Generate.Seed
		}
		need(plan.Staging{Name: "dataset-" + d.Name, Dataset: &p})
	}
	if st.study.Workload.Kind == spec.CNNBench || c.data != nil && c.data.Generate != nil {
		need(plan.Staging{Name: selfStage, File: "self"})
	}
	slices.Sort(c.out.Stages)
}

// fits reports a fleet that no capacity of the testbed can ever hold, at the role that asks for
// so many machines.
func (st *state) fits(f *plan.Fleet, c *cell) {
	for _, u := range f.Uses {
		for _, a := range st.testbed.Capacity {
			if a.Resource != u.Resource || u.Units <= a.Units {
				continue
			}
			widest := &c.roles[0]
			for i := range c.roles {
				if c.roles[i].On == "" && c.roles[i].Count > widest.Count {
					widest = &c.roles[i]
				}
			}
			st.errs.Addf(widest.Pos, "study.workload.roles."+widest.Name,
				"cell %s needs %d machines of orchestration %q, that is %d %s, and testbed %q has %d",
				c.name, len(f.Machines), f.Orchestration, u.Units, u.Resource, st.testbed.Name, a.Units)
		}
	}
}

// clouds carries over the clouds that fleets use, the capacity, and the caveat.
func (st *state) clouds() {
	for _, c := range st.testbed.Clouds {
		if slices.ContainsFunc(st.plan.Fleets, func(f plan.Fleet) bool { return f.Cloud == c.Name }) {
			st.plan.Clouds = append(st.plan.Clouds, plan.Cloud{Name: c.Name, Backend: c.Backend, Config: c.Config})
			if v := st.opt.Caveats[c.Backend]; v != plan.NoCaveat {
				st.plan.Caveat = v
			}
		}
	}
	slices.SortFunc(st.plan.Clouds, func(a, b plan.Cloud) int { return strings.Compare(a.Name, b.Name) })
	for _, a := range st.testbed.Capacity {
		st.plan.Capacity = append(st.plan.Capacity, plan.Amount{Resource: a.Resource, Units: a.Units})
	}
	slices.SortFunc(st.plan.Capacity, func(a, b plan.Amount) int { return strings.Compare(a.Resource, b.Resource) })
}
