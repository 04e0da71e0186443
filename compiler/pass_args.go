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
		Name: r.Name, Machines: r.machines, CPUs: r.CPUs, GPUs: r.GPUs, MemoryMiB: r.MemoryMiB, Finish: r.Finish,
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
	for _, f := range st.roleFlags(c, r) {
		a := plan.Arg{Text: "--" + f.Axis + "=" + f.Value.Text}
		if f.Axis == "data_dir" && c.data != nil && f.Pos == c.data.Pos { // the dataset's own
			a = plan.Arg{Text: "--data_dir=", Late: &plan.Late{Dataset: "dataset-" + c.data.Name}}
		}
		out.Args = append(out.Args, a)
	}
	for _, e := range c.env {
		out.Env = append(out.Env, plan.Setting{Name: e.Axis, Value: fill(e.Value.Text, c)})
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
