package compiler

import (
	"slices"
	"strings"

	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/spec"
)

// args makes the plan's roles: the program, its flags in the order of their names, environment
// and resources.
func (st *state) args() {
	w := &st.study.Workload
	st.plan.Workload = plan.Workload{Kind: w.Kind, Version: st.opt.Versions[w.Kind], Parser: parserOf(w.Kind)}
	for _, p := range w.Patterns {
		st.plan.Workload.Patterns = append(st.plan.Workload.Patterns, plan.Pattern{Metric: p.Metric, Line: p.Line})
	}
	slices.SortFunc(st.plan.Workload.Patterns, func(a, b plan.Pattern) int { return strings.Compare(a.Metric, b.Metric) })
	for i := range st.cells {
		c := &st.cells[i]
		for j := range c.roles {
			c.out.Roles = append(c.out.Roles, st.role(c, &c.roles[j]))
		}
		c.out.Name, c.out.Block = c.name, c.block
		for _, s := range c.axes {
			c.out.Axes = append(c.out.Axes, plan.Setting{Name: s.Axis, Value: s.Value.Text})
		}
	}
}

// parserOf names the parser that reads the output of a kind of workload.
func parserOf(kind string) string {
	switch kind {
	case spec.TFCNN, spec.CNNBench:
		return "tf_cnn_benchmarks"
	default:
		return "pattern"
	}
}

func (st *state) role(c *cell, r *role) plan.Role {
	out := plan.Role{
		Name: r.Name, Machines: r.machines, CPUs: r.CPUs, GPUs: r.GPUs, MemoryMiB: r.MemoryMiB, Finish: r.Finish, Artifacts: r.Artifacts,
	}
	w := &st.study.Workload
	switch w.Kind {
	case spec.CNNBench:
		out.Args = []plan.Arg{{Late: &plan.Late{File: selfStage}}, {Text: "cnnbench"}}
	default:
		for _, a := range w.Program {
			out.Args = append(out.Args, plan.Arg{Text: fill(a, c)})
		}
	}
	for _, f := range r.all {
		a := plan.Arg{Text: "--" + f.Axis + "=" + f.Value.Text}
		if late := st.late(c, f.Axis); late != nil {
			a = plan.Arg{Text: "--" + f.Axis + "=", Late: late}
		}
		if f.Axis == "data_dir" && c.data != nil && f.Pos == c.data.Pos { // the dataset's own
			a = plan.Arg{Text: "--data_dir=", Late: &plan.Late{Dataset: "dataset-" + c.data.Name}}
		}
		out.Args = append(out.Args, a)
	}
	for _, e := range c.env {
		out.Env = append(out.Env, plan.Setting{Name: e.Axis, Value: fill(e.Value.Text, c)})
	}
	for _, e := range usualEnv(w.Kind, r) {
		if !slices.ContainsFunc(out.Env, func(s plan.Setting) bool { return s.Name == e.Name }) {
			out.Env = append(out.Env, e)
		}
	}
	slices.SortFunc(out.Env, func(a, b plan.Setting) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// usualEnv is what the workload's program needs in its environment, unless the study says
// otherwise: lines as they are printed, and no GPU for a parameter server that was given none.
func usualEnv(kind string, r *role) []plan.Setting {
	if kind != spec.TFCNN {
		return nil
	}
	env := []plan.Setting{{Name: "PYTHONUNBUFFERED", Value: "1"}}
	if r.Name == psRole && r.GPUs == 0 {
		env = append(env, plan.Setting{Name: "CUDA_VISIBLE_DEVICES"})
	}
	return env
}

// Roles that the programs know, as values of their flag job_name.
const (
	psRole         = "ps"
	workerRole     = "worker"
	controllerRole = "controller"
)

// firstPort is the port of the first process of a role that others reach. It and those after it
// lie below what systems give to outgoing connections (32768 and up on Linux), so that a
// connection never takes it before the server does.
const firstPort = 12220

// addresses are the flags that list the processes of a role, with the role.
var addresses = map[string]string{"ps_hosts": psRole, "worker_hosts": workerRole, "controller_host": controllerRole}

// late is the late value of a flag that only dlx sets, and nil for every other flag.
func (st *state) late(c *cell, flag string) *plan.Late {
	if !spec.SetByDlx(flag) || st.study.Workload.Kind == spec.Command {
		return nil
	}
	if flag == "task_index" {
		return &plan.Late{Index: true}
	}
	port := firstPort
	for i := range c.roles { // by name: controller, ps, worker
		if r := &c.roles[i]; r.Name == addresses[flag] {
			return &plan.Late{Role: r.Name, Port: port}
		} else if r.Name == controllerRole || r.Name == psRole {
			port += r.Count
		}
	}
	return nil
}

// clusterFlags are the flags by which the processes of a distributed cell find each other: those
// of a cell with a role ps or controller, for the roles that take part. The values are not known
// yet and stand here for the rules on flags.
func clusterFlags(c *cell, r *role) []spec.Setting {
	has := func(name string) bool {
		return slices.ContainsFunc(c.roles, func(o role) bool { return o.Name == name })
	}
	member := r.Name == psRole || r.Name == workerRole || r.Name == controllerRole
	if !member || !has(psRole) && !has(controllerRole) {
		return nil
	}
	out := []spec.Setting{
		{Axis: "job_name", Value: spec.Value{Text: r.Name}, Pos: r.Pos},
		{Axis: "task_index", Value: spec.Value{Text: "0"}, Pos: r.Pos},
	}
	for flag, role := range addresses {
		if has(role) {
			out = append(out, spec.Setting{Axis: flag, Value: spec.Value{Text: "late"}, Pos: r.Pos})
		}
	}
	return out
}

// fill replaces "{axis}" by the cell's value on it; other braces stay.
func fill(s string, c *cell) string {
	if !strings.Contains(s, "{") {
		return s
	}
	pairs := make([]string, 0, 2*len(c.axes))
	for _, a := range c.axes {
		pairs = append(pairs, "{"+a.Axis+"}", a.Value.Text)
	}
	return strings.NewReplacer(pairs...).Replace(s)
}
