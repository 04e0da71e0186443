package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// Components lists all that can change the result of a cell, as names with values, by name: the
// workload with its version, each role with its program, flags, environment and resources, what
// is staged, and what its machines are. Titles, figures, repeats, names and the order of axes
// are not among them.
func (p *Plan) Components(c *Cell) []Setting {
	out := make([]Setting, 0, 64)
	add := func(name, value string) { out = append(out, Setting{name, value}) }
	w := &p.Workload
	add("block", c.Block) // the same configuration in two scenarios is measured in both
	add("orchestration", p.Fleets[c.Fleet].Orchestration)
	add("workload", w.Kind)
	if w.Version != "" {
		add("workload version", w.Version)
	}
	add("parser", w.Parser)
	for _, x := range w.Patterns {
		add("pattern "+x.Metric, x.Line)
	}
	f := &p.Fleets[c.Fleet]
	for _, cl := range p.Clouds {
		if cl.Name == f.Cloud {
			add("backend", cl.Backend)
		}
	}
	if p.Caveat == Simulated { // a model's number is never taken for a measured one
		add("simulated", "true")
	}
	if f.Hosts != "" {
		add("hosts", f.Hosts)
	}
	for i, m := range f.Machines {
		add("machine "+strconv.Itoa(i), string(m.Spec))
	}
	for _, s := range f.Stages {
		switch {
		case !slices.Contains(c.Stages, s.Name):
		case s.Dataset != nil:
			j, _ := json.Marshal(s.Dataset) // cannot fail: strings and numbers
			add("dataset", string(j))
		default:
			add("file "+s.Name, s.File)
		}
	}
	for i := range c.Roles {
		c.Roles[i].components(add)
	}
	slices.SortFunc(out, func(a, b Setting) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Value, b.Value))
	})
	return out
}

func (r *Role) components(add func(name, value string)) {
	n := r.Name + " "
	for i, a := range r.Args {
		flag, value, ok := strings.Cut(a.Text, "=")
		if ok = ok && strings.HasPrefix(flag, "--"); ok && a.Late == nil {
			add(n+flag, value)
			continue
		}
		j, _ := json.Marshal(a) // cannot fail
		if ok {
			add(n+flag, string(j))
		} else {
			add(n+"argument "+strconv.Itoa(i), string(j))
		}
	}
	for _, e := range r.Env {
		add(n+"env "+e.Name, e.Value)
	}
	on := make([]string, len(r.Machines))
	for i, m := range r.Machines {
		on[i] = strconv.Itoa(m)
	}
	add(n+"on machines", strings.Join(on, ","))
	add(n+"cpus", strconv.Itoa(r.CPUs))
	add(n+"gpus", strconv.Itoa(r.GPUs))
	add(n+"memory MiB", strconv.Itoa(r.MemoryMiB))
	add(n+"finish", r.Finish)
}

// KeyOf hashes components: 32 hexadecimal digits of SHA-256 over their lengths and texts.
func KeyOf(components []Setting) string {
	text := make([]byte, 0, 4096)
	for _, s := range components {
		text = append(append(strconv.AppendInt(text, int64(len(s.Name)), 10), ':'), s.Name...)
		text = append(append(strconv.AppendInt(text, int64(len(s.Value)), 10), ':'), s.Value...)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// A Change is one component that differs between two forms of a cell. An empty side means that
// the component was not there.
type Change struct {
	Name, Old, New string
}

// DiffComponents compares two sorted lists of components.
func DiffComponents(old, now []Setting) []Change {
	var out []Change
	for len(old) > 0 || len(now) > 0 {
		switch {
		case len(now) == 0 || len(old) > 0 && old[0].Name < now[0].Name:
			out = append(out, Change{old[0].Name, old[0].Value, ""})
			old = old[1:]
		case len(old) == 0 || now[0].Name < old[0].Name:
			out = append(out, Change{now[0].Name, "", now[0].Value})
			now = now[1:]
		default:
			if old[0].Value != now[0].Value {
				out = append(out, Change{now[0].Name, old[0].Value, now[0].Value})
			}
			old, now = old[1:], now[1:]
		}
	}
	return out
}

func (c Change) String() string {
	switch {
	case c.Old == "":
		return c.Name + ": " + c.New + " is new"
	case c.New == "":
		return c.Name + ": " + c.Old + " is gone"
	default:
		return c.Name + ": " + c.Old + " -> " + c.New
	}
}
