package spec

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"dlx.dev/dlx/spec/diag"
)

var (
	flagName    = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	commandFlag = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]*$`)
	envName     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

var workloadFields = []string{"kind", "program", "flags", "bind", "env", "roles", "per", "overrides", "patterns", "hosts"}

func (d *decoder) workload(n *node) Workload {
	if !d.isStruct(n, "dlx.#CNNBench & {flags: {num_batches: 20}}") {
		return Workload{}
	}
	d.unknown(n, workloadFields...)
	w := Workload{Pos: n.label}
	if k := n.get("kind"); k != nil {
		w.Kind = d.oneOf(k, TFCNN, CNNBench, Command)
	} else if !n.part {
		d.atLabel(n, "field kind is missing; start from one of dlx.#CNNBench, dlx.#TFCNN and dlx.#Command: workload: dlx.#CNNBench & {...}")
	}
	d.kind = w.Kind
	d.program(&w, n)
	w.Flags = d.flags(n.get("flags"))
	w.Bind = d.bind(n.get("bind"), w.Flags)
	w.Env = d.settings(n.get("env"), `{OMP_NUM_THREADS: "1"}`, envName, "an environment variable: letters, digits and _, no digit first")
	w.Roles = d.roles(n.get("roles"))
	w.Hosts = cmp.Or(d.oneOf(n.get("hosts"), AnyHosts, DifferentHosts), DifferentHosts)
	w.Overrides = slices.Concat(d.per(n.get("per"), w.Roles), d.overrides(n.get("overrides"), w.Roles))
	w.Patterns = d.patterns(n.get("patterns"), &w)
	return w
}

func (d *decoder) program(w *Workload, n *node) {
	p := n.get("program")
	switch {
	case w.Kind == CNNBench && p != nil:
		d.atLabel(p, "dlx brings cnnbench along; remove program (dlx.#TFCNN and dlx.#Command take one)")
		return
	case w.Kind == TFCNN && p == nil:
		d.need(n, "program", `["python3", "/opt/benchmarks/tf_cnn_benchmarks.py"]`)
		return
	case w.Kind == Command && p == nil:
		d.need(n, "program", `["python3", "/opt/train.py"]`)
		return
	}
	if !d.isList(p, `["python3", "/opt/train.py"]`) {
		return
	}
	if len(p.elems) == 0 {
		d.errorf(p, `empty; write what starts the program, such as ["python3", "/opt/train.py"]`)
	}
	for i, e := range p.elems {
		if i == 0 {
			w.Program = append(w.Program, d.text(e))
		} else {
			w.Program = append(w.Program, d.str(e))
		}
	}
}

func (d *decoder) flags(n *node) []Setting {
	const form = `{batch_size: 32}`
	if d.kind == Command {
		return d.settings(n, form, commandFlag, "a flag: letters, digits, . _ and -, a letter first; dlx writes --name=value")
	}
	out := d.settings(n, form, flagName, "a flag: lower-case letters, digits and _")
	if n != nil && n.kind == structKind {
		d.checkFlagNodes(n)
	}
	return out
}

func (d *decoder) bind(n *node, flags []Setting) []Binding {
	if !d.isStruct(n, `{model: "model"}`) {
		return nil
	}
	var out []Binding
	for _, f := range n.fields {
		d.refs = append(d.refs, ref{kind: axisNameRef, name: f.name, node: &node{path: f.node.path, at: f.node.label, label: f.node.label}})
		b := Binding{Axis: f.name, Flag: d.text(f.node), Pos: f.node.label}
		if b.Flag == "" || !d.checkFlagName(f.node.at, f.node.path, b.Flag) {
			continue
		}
		for _, s := range flags {
			if s.Axis == b.Flag {
				*d.errs = append(*d.errs, &diag.Error{Pos: s.Pos, Path: "study.workload.flags." + s.Axis, Related: []diag.Pos{f.node.at},
					Msg: "the axis " + b.Axis + " is bound to this flag as well; remove the flag here, or the binding"})
			}
		}
		for _, o := range out {
			if o.Flag == b.Flag {
				d.errorf(f.node, "the axis %s is bound to the flag %s already; a flag takes one axis", o.Axis, b.Flag)
			}
		}
		out = append(out, b)
	}
	slices.SortFunc(out, func(a, b Binding) int { return strings.Compare(a.Axis, b.Axis) })
	return out
}

// per decodes {axis: {value: change}} into overrides with one condition each.
func (d *decoder) per(n *node, base []Role) []Override {
	if !d.isStruct(n, "{model: {alexnet: flags: batch_size: 512}}") {
		return nil
	}
	var out []Override
	for _, a := range n.fields {
		d.refs = append(d.refs, ref{kind: axisNameRef, name: a.name, node: &node{path: a.node.path, at: a.node.label, label: a.node.label}})
		if !d.isStruct(a.node, "{alexnet: flags: batch_size: 512}") {
			continue
		}
		for _, v := range a.node.fields {
			d.refs = append(d.refs, ref{kind: valueRef, name: v.name, node: v.node, in: scope{not: a.name}})
			o := d.change(v.node, base)
			o.Where = []Condition{{Axis: a.name, Values: []Value{{Text: v.name, Pos: v.node.label}}, Pos: a.node.label}}
			o.Pos = v.node.label
			out = append(out, o)
		}
	}
	return out
}

func (d *decoder) overrides(n *node, base []Role) []Override {
	const form = `[{where: {mode: "distributed", model: "alexnet"}, flags: {batch_size: 32}}]`
	if !d.isList(n, form) {
		return nil
	}
	var out []Override
	for _, e := range n.elems {
		if !d.isStruct(e, form[1:len(form)-1]) {
			continue
		}
		o := d.change(e, base, "where")
		o.Where = d.where(d.need(e, "where", `{mode: "distributed"}`), scope{})
		o.Pos = e.at
		out = append(out, o)
	}
	return out
}

func (d *decoder) change(n *node, base []Role, more ...string) Override {
	var o Override
	if !d.isStruct(n, "{flags: {batch_size: 512}}") {
		return o
	}
	d.unknown(n, append([]string{"flags", "env", "roles"}, more...)...)
	o.Flags = d.flags(n.get("flags"))
	o.Env = d.settings(n.get("env"), `{OMP_NUM_THREADS: "1"}`, envName, "an environment variable: letters, digits and _, no digit first")
	if n.get("flags") == nil && n.get("env") == nil && n.get("roles") == nil && len(n.fields) <= len(more) {
		d.errorf(n, "changes nothing; write flags, env or roles, or remove it")
	}
	o.Roles = d.roleChanges(n.get("roles"), base)
	return o
}

func (d *decoder) patterns(n *node, w *Workload) []Pattern {
	if n != nil && w.Kind != Command && w.Kind != "" {
		d.atLabel(n, "dlx reads the output of %s itself; remove patterns (dlx.#Command takes them)", w.Kind)
		return nil
	}
	const form = `{throughput: "speed: (?P<v>[0-9.]+)"}`
	if !d.isStruct(n, form) {
		return nil
	}
	var out []Pattern
	for _, f := range n.fields {
		if !metricName.MatchString(f.name) {
			d.atLabel(f.node, "%s is no name of a metric: lower-case letters, digits and _, a letter first", quote(f.name))
			continue
		}
		if f.name == "elapsed" {
			d.atLabel(f.node, "dlx measures elapsed itself; give the pattern another name")
			continue
		}
		p := Pattern{Metric: f.name, Line: d.text(f.node), Pos: f.node.label}
		if p.Line == "" {
			continue
		}
		re, err := regexp.Compile(p.Line)
		switch {
		case err != nil:
			d.errorf(f.node, "no regular expression (RE2): %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		case re.SubexpIndex("v") < 0:
			d.errorf(f.node, `the pattern has no group "v"; write (?P<v>...) around the number`)
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Pattern) int { return strings.Compare(a.Metric, b.Metric) })
	return out
}
