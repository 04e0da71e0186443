package spec

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"dlx.dev/dlx/spec/diag"
	"dlx.dev/dlx/spec/words"
)

func (d *decoder) testbed(n *node) *Testbed {
	if !d.isStruct(n, `dlx.#Testbed & {name: "lab", ...}`) {
		return nil
	}
	d.unknown(n, "name", "clouds", "orchestrations", "capacity", "limits", "rehearsal")
	t := &Testbed{Pos: n.label}
	t.Name = d.name(d.need(n, "name", `"lab"`))
	t.Clouds = d.clouds(d.need(n, "clouds", `{local: {backend: "sandbox"}}`))
	t.Capacity = d.amounts(n.get("capacity"), "{hosts: 2}", 0)
	t.Orchestrations = d.orchestrations(d.need(n, "orchestrations", `{vm: {cloud: "local", machine: {...}}}`), t, n)
	t.Limits = d.limits(n.get("limits"))
	t.Rehearsal = d.rehearsal(n.get("rehearsal"))
	return t
}

// cloudFields are the fields of a cloud's Config by backend; a backend without an entry takes any.
var cloudFields = map[string][]string{
	"openstack":  {"cloud", "region", "jump", "runNetwork"},
	"kubernetes": {"kubeconfig", "context", "namespace"},
	"sandbox":    {"hosts", "cpusPerHost", "gpusPerHost"},
}

func (d *decoder) clouds(n *node) []Cloud {
	const form = `{local: {backend: "sandbox"}}`
	if !d.isStruct(n, form) {
		return nil
	}
	if len(n.fields) == 0 {
		d.errorf(n, "no cloud; write at least one, such as %s", form)
	}
	var out []Cloud
	for _, f := range n.fields {
		if !d.label(f) || !d.isStruct(f.node, form[1:len(form)-1]) {
			continue
		}
		c := Cloud{Name: f.name, Pos: f.node.label, Fields: map[string]diag.Pos{}}
		places(f.node, "", c.Fields)
		c.Backend = d.oneOf(d.need(f.node, "backend", `"openstack"`), d.catalog.backends()...)
		c.Config = d.raw(f.node, "backend")
		if known, ok := cloudFields[c.Backend]; ok {
			d.unknown(f.node, append([]string{"backend"}, known...)...)
		}
		switch c.Backend {
		case "openstack":
			d.text(d.need(f.node, "cloud", `"mycloud", its name in clouds.yaml`))
			d.text(f.node.get("region"))
			d.jump(f.node.get("jump"))
			d.runNetwork(f.node.get("runNetwork"))
		case "kubernetes":
			for _, name := range []string{"kubeconfig", "context", "namespace"} {
				d.text(f.node.get(name))
			}
		case "sandbox":
			d.wholeOr(f.node.get("hosts"), 1, 1)
			d.wholeOr(f.node.get("cpusPerHost"), 1, 1)
			d.wholeOr(f.node.get("gpusPerHost"), 0, 0)
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Cloud) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// jump checks how the jump host in front of a cloud's machines is reached.
func (d *decoder) jump(n *node) {
	if !d.isStruct(n, `{address: "bastion.example", user: "me", hostKey: "ssh-ed25519 AAAA..."}`) {
		return
	}
	d.unknown(n, "address", "user", "hostKey", "key")
	d.text(d.need(n, "address", `"bastion.example" or "bastion.example:2222"`))
	d.text(d.need(n, "user", `"me"`))
	d.text(d.need(n, "hostKey", `what ssh-keyscan prints behind the name, such as "ssh-ed25519 AAAA..."`))
	d.text(n.get("key"))
}

// runNetwork checks what network each run makes for its own.
func (d *decoder) runNetwork(n *node) {
	if !d.isStruct(n, `{cidr: "10.250.0.0/24", external: "public"}`) {
		return
	}
	d.unknown(n, "cidr", "external", "dns")
	cidr := d.need(n, "cidr", `"10.250.0.0/24"`)
	if text := d.text(cidr); text != "" {
		if p, err := netip.ParsePrefix(text); err != nil || p != p.Masked() {
			d.errorf(cidr, `%s is no range of addresses such as "10.250.0.0/24"`, quote(text))
		}
	}
	d.text(n.get("external"))
	if l := n.get("dns"); d.isList(l, `["192.0.2.53"]`) {
		for _, e := range l.elems {
			if text := d.text(e); text != "" {
				if _, err := netip.ParseAddr(text); err != nil {
					d.errorf(e, "%s is no IP address", quote(text))
				}
			}
		}
	}
}

func (d *decoder) orchestrations(n *node, t *Testbed, root *node) []Orchestration {
	const form = `{vm: {cloud: "local", machine: {flavor: "m1.large", image: "ubuntu", network: "private", user: "ubuntu"}}}`
	if !d.isStruct(n, form) {
		return nil
	}
	if len(n.fields) == 0 {
		d.errorf(n, "no orchestration; write at least one, such as %s", form)
	}
	var out []Orchestration
	for _, f := range n.fields {
		if !d.label(f) || !d.isStruct(f.node, form[1:len(form)-1]) {
			continue
		}
		d.unknown(f.node, "cloud", "machine", "uses", "beside")
		o := Orchestration{Name: f.name, Pos: f.node.label}
		cloud := d.need(f.node, "cloud", `"local"`)
		o.Cloud = d.text(cloud)
		backend, known := "", cloudNames(root)
		for _, c := range t.Clouds {
			if c.Name == o.Cloud {
				backend = c.Backend
			}
		}
		if o.Cloud != "" && len(known) > 0 && !slices.Contains(known, o.Cloud) {
			d.errorf(cloud, "unknown cloud %s%s", quote(o.Cloud), words.Known(o.Cloud, known))
		}
		if m := d.need(f.node, "machine", `{flavor: "m1.large", image: "ubuntu", network: "private", user: "ubuntu"}`); d.isStruct(m, `{image: "ubuntu"}`) {
			switch backend {
			case "kubernetes":
				d.pod(m)
			case "openstack", "sandbox":
				d.server(m)
			}
			o.Machine, o.Fields = d.raw(m), map[string]diag.Pos{}
			places(m, "", o.Fields)
		}
		o.Uses = d.amounts(f.node.get("uses"), "{hosts: 1}", 1)
		o.Beside = cmp.Or(d.oneOf(f.node.get("beside"), BesideProcess, BesideMachine), BesideProcess)
		for _, u := range o.Uses {
			for _, c := range t.Capacity {
				if c.Resource == u.Resource && u.Units > c.Units {
					d.errs.Addf(u.Pos, join(join(f.node.path, "uses"), u.Resource), "one machine uses %d, and the testbed's capacity is %d; no trial could ever start", u.Units, c.Units)
				}
			}
		}
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b Orchestration) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func cloudNames(root *node) []string {
	var names []string
	if c := root.get("clouds"); c != nil && c.kind == structKind {
		for _, f := range c.fields {
			names = append(names, f.name)
		}
	}
	return names
}

func (d *decoder) amounts(n *node, form string, low int) []Amount {
	if !d.isStruct(n, form) {
		return nil
	}
	var out []Amount
	for _, f := range n.fields {
		if !axisName.MatchString(f.name) {
			d.atLabel(f.node, "%s is no name of a resource: letters, digits, _ and -, a letter first", quote(f.name))
			continue
		}
		if v, ok := d.whole(f.node, low); ok {
			out = append(out, Amount{Resource: f.name, Units: v, Pos: f.node.at})
		}
	}
	slices.SortFunc(out, func(a, b Amount) int { return strings.Compare(a.Resource, b.Resource) })
	return out
}

func (d *decoder) limits(n *node) Limits {
	var l Limits
	if !d.isStruct(n, `{provision: "10m", trial: "30m", attempts: 3}`) {
		return l
	}
	d.unknown(n, "provision", "stage", "trial", "release", "attempts")
	for name, to := range map[string]*time.Duration{"provision": &l.Provision, "stage": &l.Stage, "trial": &l.Trial, "release": &l.Release} {
		*to = d.duration(n.get(name))
	}
	l.Attempts = d.wholeOr(n.get("attempts"), 1, 0)
	return l
}

// faultClasses are the failures that a rehearsal can have.
var faultClasses = []string{"capacity", "config", "infra", "quota", "transport", "workload"}

func (d *decoder) rehearsal(n *node) Rehearsal {
	r := Rehearsal{Seed: 1}
	const fault = `{step: "provision/vm-*", class: "capacity", times: 1}`
	if !d.isStruct(n, `{seed: 1, faults: [`+fault+`]}`) {
		return r
	}
	d.unknown(n, "seed", "faults")
	r.Seed = d.wholeOr(n.get("seed"), 0, 1)
	if l := n.get("faults"); d.isList(l, "["+fault+"]") {
		for _, e := range l.elems {
			if !d.isStruct(e, fault) {
				continue
			}
			d.unknown(e, "step", "class", "times")
			f := Fault{Step: d.text(d.need(e, "step", `"provision/vm-*"`)), Class: d.oneOf(d.need(e, "class", `"capacity"`), faultClasses...), Times: d.wholeOr(e.get("times"), 0, 0)}
			if kind, _, _ := strings.Cut(f.Step, "/"); f.Step != "" && !slices.Contains([]string{"provision", "trial", "release"}, kind) {
				d.errorf(e.get("step"), `%s is no step: it begins with provision/, trial/ or release/, and * stands for anything`, quote(f.Step))
			}
			r.Faults = append(r.Faults, f)
		}
	}
	return r
}

var durationText = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`)

func (d *decoder) duration(n *node) time.Duration {
	if n == nil || n.kind == badKind {
		return 0
	}
	const form = `a time such as "90s", "10m" or "1h30m" is wanted`
	if n.kind != stringKind {
		d.errorf(n, "found %s; %s", n.found(), form)
		return 0
	}
	v, err := time.ParseDuration(n.text)
	if err != nil || !durationText.MatchString(n.text) {
		d.errorf(n, "found %s; %s", quote(n.text), form)
		return 0
	}
	if v <= 0 {
		d.errorf(n, "found %s; a time above zero is wanted", quote(n.text))
	}
	return v
}

// places notes where all that is below a node is written, by its path from there.
func places(n *node, path string, into map[string]diag.Pos) {
	for _, f := range n.fields {
		p := join(path, f.name)
		into[p] = f.node.at
		places(f.node, p, into)
	}
	for i, e := range n.elems {
		p := path + "[" + strconv.Itoa(i) + "]"
		into[p] = e.at
		places(e, p, into)
	}
}

// raw is a node as canonical JSON, without some fields.
func (d *decoder) raw(n *node, without ...string) json.RawMessage {
	b, err := json.Marshal(d.plain(n, without...))
	if err != nil { // strings, numbers, booleans, lists and maps always work
		d.errorf(n, "cannot be written as JSON: %v", err)
		return nil
	}
	return b
}

func (d *decoder) plain(n *node, without ...string) any {
	switch n.kind {
	case structKind:
		m := map[string]any{} // json.Marshal sorts its keys
		for _, f := range n.fields {
			if !slices.Contains(without, f.name) {
				m[f.name] = d.plain(f.node)
			}
		}
		return m
	case listKind:
		l := []any{}
		for _, e := range n.elems {
			l = append(l, d.plain(e))
		}
		return l
	case stringKind:
		return n.text
	case intKind, floatKind:
		return json.Number(n.text)
	case boolKind:
		return n.text == "true"
	default:
		return nil
	}
}
