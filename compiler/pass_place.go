package compiler

import (
	"cmp"
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
		orch  string
		n     int
		hosts string
	}
	type found struct {
		fleet plan.Fleet
		pos   diag.Pos
		cells []int
	}
	fleets := map[shape]*found{}
	for i := range st.cells {
		c := &st.cells[i]
		n, hosts := st.machines(c)
		if c.orch == nil || n == 0 {
			continue
		}
		s := shape{c.orch.Name, n, hosts}
		f := fleets[s]
		if f == nil {
			f = &found{fleet: st.fleet(c.orch, n, hosts), pos: c.orch.Pos}
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

// Ways in which the machines of a fleet stand on hosts, as in plan.Fleet.
const (
	sameHost       = "same"
	differentHosts = "different"
)

// machines numbers the machines of a cell: each process of a role has its own, but for roles
// that stand on the machines of another, or beside it where the orchestration puts both on one
// machine. It returns how many there are, and how they stand on hosts.
func (st *state) machines(c *cell) (n int, hosts string) {
	if c.orch == nil {
		return 0, ""
	}
	apart := func(r *role) bool { // it has machines beside those of another role
		return r.Beside != "" && c.orch.Beside == spec.BesideMachine
	}
	for i := range c.roles {
		r := &c.roles[i]
		if r.On == "" && r.Beside == "" {
			for range r.Count {
				r.machines = append(r.machines, n)
				n++
			}
		}
	}
	own, beside := n, false
	for i := range c.roles {
		r := &c.roles[i]
		host := cmp.Or(r.On, r.Beside)
		if host == "" {
			continue
		}
		k := slices.IndexFunc(c.roles, func(o role) bool { return o.Name == host && o.On == "" && o.Beside == "" })
		if k < 0 {
			st.once(&diag.Error{Pos: r.Pos, Path: "study.workload.roles." + r.Name, Msg: fmt.Sprintf(
				"role %q stands with role %q, which cell %s lacks or which stands with another itself", r.Name, host, c.name,
			)}, host)
			return 0, ""
		}
		for j := range r.Count {
			if apart(r) {
				r.machines = append(r.machines, n)
				n, beside = n+1, true
			} else {
				r.machines = append(r.machines, c.roles[k].machines[j%len(c.roles[k].machines)])
			}
		}
		if apart(r) && own > 1 {
			st.once(&diag.Error{Pos: r.Pos, Path: "study.workload.roles." + r.Name, Msg: fmt.Sprintf(
				"role %q stands beside role %q on hosts of orchestration %q, where it has machines of its own; that works with one machine to stand beside, and cell %s has %d",
				r.Name, host, c.orch.Name, c.name, own,
			)}, host)
			return 0, ""
		}
	}
	switch {
	case beside:
		return n, sameHost
	case n > 1 && st.study.Workload.Hosts == spec.DifferentHosts:
		return n, differentHosts
	default:
		return n, ""
	}
}

func (st *state) fleet(o *spec.Orchestration, n int, hosts string) plan.Fleet {
	f := plan.Fleet{Name: label(o.Name) + "-" + itoa(n), Cloud: o.Cloud, Orchestration: o.Name, Hosts: hosts}
	if hosts == sameHost {
		f.Name += "-same"
	}
	for i := range n {
		f.Machines = append(f.Machines, plan.Machine{Name: "m" + itoa(i), Spec: o.Machine})
	}
	for _, u := range o.Uses {
		units := u.Units * n
		if hosts == sameHost && u.Resource == hostsResource {
			units = u.Units
		}
		f.Uses = append(f.Uses, plan.Amount{Resource: u.Resource, Units: units})
	}
	slices.SortFunc(f.Uses, func(a, b plan.Amount) int { return strings.Compare(a.Resource, b.Resource) })
	return f
}

// hostsResource is the resource of which machines on one host use one together.
const hostsResource = "hosts"

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
		p := plan.Dataset{Name: d.Name, Path: d.Path, Checksum: d.Checksum, Bytes: d.Bytes}
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
			if st.opt.Rehearse {
				st.plan.Clouds = append(st.plan.Clouds, plan.Cloud{Name: c.Name, Backend: ModelBackend, Config: st.rehearsal()})
				st.plan.Caveat = plan.Simulated
				continue
			}
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
