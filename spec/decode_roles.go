package spec

import (
	"cmp"
	"slices"
	"strings"

	"dlx.dev/dlx/spec/diag"
	"dlx.dev/dlx/spec/words"
)

var roleFields = []string{"count", "cpus", "gpus", "memoryMiB", "finish", "on", "beside", "artifacts", "flags"}

// DefaultRole is the one role of a workload without roles.
const DefaultRole = "worker"

// defaultFinish is how a role ends if it does not say: a parameter server never exits.
func defaultFinish(role string) string {
	if role == "ps" {
		return Stopped
	}
	return Exits
}

func (d *decoder) roles(n *node) []Role {
	if n == nil {
		return []Role{{Name: DefaultRole, Count: 1, Finish: Exits}}
	}
	const form = "{worker: {count: 1}}"
	if !d.isStruct(n, form) {
		return nil
	}
	if len(n.fields) == 0 {
		d.errorf(n, "no role; write at least one, such as %s", form)
	}
	var out []Role
	var exits bool
	for _, f := range n.fields {
		c, ok := d.roleChange(f)
		if !ok {
			exits = true
			continue
		}
		r := Role{Name: f.name, Count: 1, Finish: defaultFinish(f.name), Pos: f.node.label, Flags: c.Flags, Artifacts: c.Artifacts}
		set(&r.Count, c.Count)
		set(&r.CPUs, c.CPUs)
		set(&r.GPUs, c.GPUs)
		set(&r.MemoryMiB, c.MemoryMiB)
		set(&r.Finish, c.Finish)
		set(&r.On, c.On)
		set(&r.Beside, c.Beside)
		exits = exits || r.Finish == Exits || r.Count == 0
		out = append(out, r)
	}
	if len(n.fields) > 0 && !exits {
		d.atLabel(n, "no role ends by itself, so that no trial would end; one needs finish: %q", Exits)
	}
	slices.SortFunc(out, func(a, b Role) int { return strings.Compare(a.Name, b.Name) })
	for _, f := range n.fields {
		d.roleOn(f, out, nil)
	}
	return out
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func (d *decoder) roleChanges(n *node, base []Role) []RoleChange {
	if !d.isStruct(n, "{worker: {count: 2}}") {
		return nil
	}
	var out []RoleChange
	for _, f := range n.fields {
		if c, ok := d.roleChange(f); ok {
			added := !slices.ContainsFunc(base, func(r Role) bool { return r.Name == f.name })
			if fin := defaultFinish(f.name); added && c.Finish == nil && fin != Exits {
				c.Finish = &fin
			}
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b RoleChange) int { return strings.Compare(a.Name, b.Name) })
	for _, f := range n.fields {
		d.roleOn(f, base, n)
	}
	return out
}

// roleChange decodes one role; fields that are not there stay nil.
func (d *decoder) roleChange(f field) (RoleChange, bool) {
	n := f.node
	if !d.label(f) || !d.isStruct(n, "{count: 1}") {
		return RoleChange{}, false
	}
	d.unknown(n, roleFields...)
	c := RoleChange{Name: f.name, Pos: n.label}
	c.Count = d.optional(n.get("count"))
	c.CPUs = d.optional(n.get("cpus"))
	c.GPUs = d.optional(n.get("gpus"))
	c.MemoryMiB = d.optional(n.get("memoryMiB"))
	if fin := n.get("finish"); fin != nil {
		s := cmp.Or(d.oneOf(fin, Exits, Stopped, Background), defaultFinish(f.name))
		c.Finish = &s
	}
	if on := n.get("on"); on != nil {
		s := d.str(on)
		c.On = &s
	}
	if beside := n.get("beside"); beside != nil {
		s := d.str(beside)
		c.Beside = &s
		if on := n.get("on"); on != nil {
			*d.errs = append(*d.errs, &diag.Error{Pos: beside.label, Path: beside.path, Related: []diag.Pos{on.label},
				Msg: "on and beside exclude each other: the machine of a role, or its host; remove one of them"})
		}
	}
	c.Artifacts = d.artifacts(n.get("artifacts"))
	c.Flags = d.flags(n.get("flags"))
	return c, true
}

// taken are the names of files that a process leaves anyway.
var taken = []string{"stdout", "stderr", "probe"}

// artifacts is a list of base names.
func (d *decoder) artifacts(n *node) []string {
	if !d.isList(n, `["trace.json"]`) {
		return nil
	}
	var out []string
	for _, e := range n.elems {
		switch s := d.text(e); {
		case s == "":
		case !valueText.MatchString(s):
			d.errorf(e, "%s is no name of a file in the folder of a process: it takes letters, digits and . _ + -, a letter or digit first%s", quote(s), suchValue(s))
		case slices.Contains(taken, s):
			d.errorf(e, "%s comes home anyway; remove it", quote(s))
		case slices.Contains(out, s):
			d.errorf(e, "%s stands in this list already; remove one of them", quote(s))
		default:
			out = append(out, s)
		}
	}
	slices.Sort(out)
	return out
}

func (d *decoder) optional(n *node) *int {
	if n == nil {
		return nil
	}
	if v, ok := d.whole(n, 0); ok {
		return &v
	}
	return nil
}

// roleOn checks that a role's "on" and "beside" name another role.
func (d *decoder) roleOn(f field, base []Role, changes *node) {
	d.otherRole(f, f.node.get("on"), "a role shares the machines of another role, not its own", base, changes)
	d.otherRole(f, f.node.get("beside"), "a role shares the hosts of another role, not its own", base, changes)
}

func (d *decoder) otherRole(f field, on *node, own string, base []Role, beside *node) {
	if on == nil || on.kind != stringKind || on.text == "" {
		return
	}
	var names []string
	for _, r := range base {
		names = append(names, r.Name)
	}
	if beside != nil {
		for _, g := range beside.fields {
			names = append(names, g.name)
		}
	}
	names = slices.DeleteFunc(words.Set(names), func(s string) bool { return s == f.name })
	switch {
	case on.text == f.name:
		d.errorf(on, "%s%s", own, words.List(names))
	case !slices.Contains(names, on.text):
		d.errorf(on, "unknown role %s%s", quote(on.text), words.Known(on.text, names))
	}
}
