package spec

import (
	"slices"
	"strings"

	"dlx.dev/dlx/spec/diag"
	"dlx.dev/dlx/spec/flags"
	"dlx.dev/dlx/spec/words"
)

// setByDlx are flags whose values are known only when the machines are.
var setByDlx = map[string]string{
	"ps_hosts":        "the addresses of the role ps",
	"worker_hosts":    "the addresses of the role worker",
	"task_index":      "the number of the process in its role",
	"controller_host": "the address of the role controller",
}

// SetByDlx reports whether a flag of the programs that dlx knows is not the study's to set.
func SetByDlx(flag string) bool { return setByDlx[flag] != "" }

// checkFlagName reports whether the workload's program has the flag, and a study may set it.
func (d *decoder) checkFlagName(at diag.Pos, path, name string) bool {
	if !flags.Known(d.kind) {
		return true
	}
	if _, ok := flags.Lookup(d.kind, name); !ok {
		msg := d.kind + " has no flag " + name
		if _, up := flags.Lookup(flags.TFCNN, name); up {
			msg += "; tf_cnn_benchmarks has, and cnnbench would not honour it; remove it"
		} else {
			msg += words.DidYouMean(name, flags.Names(d.kind))
		}
		d.errs.Addf(at, path, "%s", msg)
		return false
	}
	if what, ok := setByDlx[name]; ok {
		d.errs.Addf(at, path, "dlx sets %s itself: %s; remove it", name, what)
		return false
	}
	return true
}

// checkFlagNodes checks each flag of a struct by itself: its name, and the type and value of
// what was written.
func (d *decoder) checkFlagNodes(n *node) {
	for _, f := range n.fields {
		if !flagName.MatchString(f.name) || !isScalar(f.node) || !flags.Known(d.kind) || !d.checkFlagName(f.node.label, f.node.path, f.name) {
			continue
		}
		flag, _ := flags.Lookup(d.kind, f.name)
		k := f.node.kind
		fits := map[flags.Type]bool{
			flags.String: k == stringKind, flags.Int: k == intKind, flags.Float: k == intKind || k == floatKind, flags.Bool: k == boolKind,
		}[flag.Type]
		if !fits {
			hint := ""
			if k == stringKind && flag.Problem(f.node.text) == "" {
				hint = ": write it without quotes"
			} else if flag.Type == flags.String {
				hint = quotedForm(f.node)
			}
			d.errorf(f.node, "found %s; the flag takes %s%s", f.node.found(), flag.Type, hint)
			continue
		}
		for _, p := range flags.CheckFlags(d.kind, []flags.Setting{{Name: f.name, Value: f.node.text}}) {
			if p.Missing == "" {
				msg := p.Msg
				if near := words.Nearest(f.node.text, flag.Values); near != "" && strings.HasPrefix(msg, "unknown value") {
					msg = strings.TrimSuffix(msg, ")") + "; did you mean " + quote(near) + "?)"
				}
				d.errorf(f.node, "%s", msg)
			}
		}
	}
}

// checkFlagRules reports what contradicts itself in whatever cell: rules between flags that are
// written together. What depends on the cell is left to the compiler.
func (d *decoder) checkFlagRules(w *Workload) {
	if !flags.Known(w.Kind) {
		return
	}
	elsewhere := map[string]int{} // how many parts other than the base set a flag
	for _, b := range w.Bind {
		elsewhere[b.Flag]++
	}
	roles := func(rs []Setting) {
		for _, s := range rs {
			elsewhere[s.Axis]++
		}
	}
	for _, r := range w.Roles {
		roles(r.Flags)
	}
	for _, o := range w.Overrides {
		roles(o.Flags)
		for _, r := range o.Roles {
			roles(r.Flags)
		}
	}
	d.ruleSet(w.Kind, w.Flags, nil, "study.workload.flags", elsewhere, 0)
	for _, o := range w.Overrides {
		d.ruleSet(w.Kind, w.Flags, o.Flags, "", elsewhere, 1)
	}
}

// ruleSet checks base flags with those of one override over them. Problems in which a flag takes
// part that yet another part may change are not certain, and left out.
func (d *decoder) ruleSet(kind string, base, over []Setting, path string, elsewhere map[string]int, own int) {
	var set []flags.Setting
	var at = map[string]diag.Pos{}
	for _, s := range slices.Concat(base, over) {
		set = append(set, flags.Setting{Name: s.Axis, Value: s.Value.Text})
		at[s.Axis] = s.Pos
	}
	inOver := func(name string) bool {
		return slices.ContainsFunc(over, func(s Setting) bool { return s.Axis == name })
	}
	for _, p := range flags.CheckFlags(kind, set) {
		taking := append([]string{p.Flag}, p.With...)
		if len(taking) == 1 && p.Missing == "" {
			continue // said of the flag by itself
		}
		switch p.Missing {
		case "", "data_format":
		default:
			continue // roles and datasets bring it
		}
		certain, ours := elsewhere[p.Missing] == 0, false
		for _, name := range taking {
			n := elsewhere[name]
			if inOver(name) {
				n -= own
				ours = true
			}
			certain = certain && n == 0
		}
		if !certain || over != nil && !ours {
			continue
		}
		first := taking[0]
		if over != nil && !inOver(first) { // point at the part that makes the contradiction
			for _, name := range taking {
				if inOver(name) {
					first = name
				}
			}
		}
		e := &diag.Error{Pos: at[first], Msg: p.Msg}
		if path != "" {
			e.Path = path + "." + first
		} else {
			e.Path = "study.workload"
		}
		for _, name := range taking {
			if name != first {
				e.Related = append(e.Related, at[name])
			}
		}
		*d.errs = append(*d.errs, e)
	}
}

// upstreamNames are upstream's names of models that the literature calls otherwise.
var upstreamNames = map[string]string{"inceptionv3": "inception3", "inceptionv4": "inception4"}

// addModelDefaults binds the axis model to the flag model, and gives upstream's names to models,
// as far as the study does not do so itself.
func addModelDefaults(s *Study) {
	w := &s.Workload
	_, known := s.values("model", scope{})
	if !flags.Known(w.Kind) || !known || slices.ContainsFunc(w.Flags, func(f Setting) bool { return f.Axis == "model" }) {
		return
	}
	bound := ""
	for _, b := range w.Bind {
		if b.Flag == "model" {
			bound = b.Axis
		}
	}
	if bound == "" {
		if slices.ContainsFunc(w.Bind, func(b Binding) bool { return b.Axis == "model" }) {
			return
		}
		bound = "model"
		w.Bind = append(w.Bind, Binding{Axis: "model", Flag: "model"})
		slices.SortFunc(w.Bind, func(a, b Binding) int { return strings.Compare(a.Axis, b.Axis) })
	}
	values, _ := s.values(bound, scope{})
	done := map[string]bool{}
	for _, v := range values {
		name, ok := upstreamNames[v.Text]
		if !ok || done[v.Text] || slices.ContainsFunc(w.Overrides, func(o Override) bool { return o.setsModelFor(bound, v.Text) }) {
			continue
		}
		done[v.Text] = true
		w.Overrides = append(w.Overrides, Override{
			Where: []Condition{{Axis: bound, Values: []Value{v}, Pos: v.Pos}},
			Flags: []Setting{{Axis: "model", Value: Value{Text: name, Pos: v.Pos}, Pos: v.Pos}},
			Pos:   v.Pos,
		})
	}
}

// setsModelFor reports whether an override sets the flag model in some cell with this value.
func (o *Override) setsModelFor(axis, value string) bool {
	if !slices.ContainsFunc(o.Flags, func(f Setting) bool { return f.Axis == "model" }) {
		return false
	}
	for _, c := range o.Where {
		if c.Axis == axis && !slices.Contains(texts(c.Values), value) {
			return false
		}
	}
	return true
}

// checkBound checks the values of axes that are bound to flags, but for those that an override
// replaces.
func (d *decoder) checkBound(s *Study) {
	w := &s.Workload
	for _, b := range w.Bind {
		flag, ok := flags.Lookup(w.Kind, b.Flag)
		if !ok {
			continue
		}
		values, _ := s.values(b.Axis, scope{})
		done := map[string]bool{}
		for _, v := range values {
			replaced := slices.ContainsFunc(w.Overrides, func(o Override) bool {
				return slices.ContainsFunc(o.Flags, func(f Setting) bool { return f.Axis == b.Flag }) && o.canMeet(b.Axis, v.Text)
			})
			if done[v.Text] || replaced {
				continue
			}
			done[v.Text] = true
			for _, p := range flags.CheckFlags(w.Kind, []flags.Setting{{Name: b.Flag, Value: v.Text}}) {
				if p.Missing == "" {
					e := &diag.Error{Pos: v.Pos, Path: "study.axes." + b.Axis}
					e.Msg = "bound to the flag " + b.Flag + ": " + p.Msg + "; change the value, or give the flag in per: " + b.Axis + ": " + quoteIfOdd(v.Text) + ": flags: " + flag.Name
					if b.Pos.IsValid() {
						e.Related = []diag.Pos{b.Pos}
					}
					*d.errs = append(*d.errs, e)
				}
			}
		}
	}
}

func (o *Override) canMeet(axis, value string) bool {
	for _, c := range o.Where {
		if c.Axis == axis && !slices.Contains(texts(c.Values), value) {
			return false
		}
	}
	return true
}
