package plan

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
)

var (
	labelRE = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`) // a DNS label
	nameRE  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]*$`)
	cellRE  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]*(/[A-Za-z][A-Za-z0-9_-]*=[A-Za-z0-9][A-Za-z0-9._+-]*(,[A-Za-z][A-Za-z0-9_-]*=[A-Za-z0-9][A-Za-z0-9._+-]*)*)?$`)
)

// Validate reports everything that would make the plan unexecutable: unknown or repeated names,
// names that cannot stand in paths and tags, a step before one it needs, a fleet without exactly
// one provision and one release, a machine or late value that does not exist, or a fleet that
// needs more than the capacity.
func (p *Plan) Validate() error {
	v := &validator{p: p, clouds: map[string]bool{}}
	v.names()
	v.fleets()
	v.cells()
	v.steps()
	v.figures()
	return errors.Join(v.errs...)
}

type validator struct {
	p      *Plan
	clouds map[string]bool
	errs   []error
}

func (v *validator) addf(format string, args ...any) {
	if len(v.errs) < 20 { // the rest follows from these
		v.errs = append(v.errs, fmt.Errorf(format, args...))
	}
}

func (v *validator) names() {
	p := v.p
	if p.Format != Format {
		v.addf("format %d is not %d", p.Format, Format)
	}
	if !labelRE.MatchString(p.Study) {
		v.addf("study %q: not a DNS label", p.Study)
	}
	if p.Repeats < 1 || p.Repeats > 1_000_000 {
		v.addf("repeats %d: want 1 to 1000000", p.Repeats)
	}
	switch p.Caveat {
	case NoCaveat, Sandbox, Simulated:
	default:
		v.addf("caveat %q: unknown", p.Caveat)
	}
	for _, c := range p.Clouds {
		if v.clouds[c.Name] {
			v.addf("cloud %q: twice", c.Name)
		}
		v.clouds[c.Name] = true
	}
	for k := Provision; k <= Release; k++ {
		l := p.Policy.Of(k)
		if l.Timeout <= 0 || l.Attempts < 1 || l.Backoff < 0 || l.MaxWait < 0 {
			v.addf("policy of %s: needs a timeout above 0, at least one attempt, and no negative wait", k)
		}
	}
}

func (v *validator) fleets() {
	capacity := map[string]int{}
	for _, a := range v.p.Capacity {
		capacity[a.Resource] = a.Units
	}
	seen := map[string]bool{}
	for _, f := range v.p.Fleets {
		if seen[f.Name] || !labelRE.MatchString(f.Name) {
			v.addf("fleet %q: repeated, or not a DNS label", f.Name)
		}
		seen[f.Name] = true
		if !v.clouds[f.Cloud] {
			v.addf("fleet %q: unknown cloud %q", f.Name, f.Cloud)
		}
		switch f.Hosts {
		case "", "same", "different":
		default:
			v.addf("fleet %q: hosts %q: unknown", f.Name, f.Hosts)
		}
		if len(f.Machines) == 0 {
			v.addf("fleet %q: no machines", f.Name)
		}
		machines := map[string]bool{}
		for _, m := range f.Machines {
			if machines[m.Name] || !labelRE.MatchString(m.Name) {
				v.addf("fleet %q: machine %q: repeated, or not a DNS label", f.Name, m.Name)
			}
			machines[m.Name] = true
		}
		for _, u := range f.Uses {
			if units, ok := capacity[u.Resource]; u.Units < 0 || ok && u.Units > units {
				v.addf("fleet %q: uses %d %s of %d", f.Name, u.Units, u.Resource, units)
			}
		}
		stages := map[string]bool{}
		for _, s := range f.Stages {
			if stages[s.Name] || !nameRE.MatchString(s.Name) || (s.File == "") == (s.Dataset == nil) {
				v.addf("fleet %q: staging %q: repeated, ill named, or not exactly one of file and dataset", f.Name, s.Name)
			}
			stages[s.Name] = true
		}
	}
}

func (v *validator) cells() {
	seen := map[string]bool{}
	for i := range v.p.Cells {
		c := &v.p.Cells[i]
		if seen[c.Name] || !cellRE.MatchString(c.Name) {
			v.addf("cell %q: repeated, or ill named", c.Name)
		}
		seen[c.Name] = true
		if c.Key == "" {
			v.addf("cell %q: no key", c.Name)
		}
		if c.Fleet < 0 || c.Fleet >= len(v.p.Fleets) {
			v.addf("cell %q: no fleet", c.Name)
			continue
		}
		v.roles(c, &v.p.Fleets[c.Fleet])
	}
}

func (v *validator) roles(c *Cell, f *Fleet) {
	roles, exits := map[string]bool{}, false
	for _, r := range c.Roles {
		if roles[r.Name] || !labelRE.MatchString(r.Name) {
			v.addf("cell %q: role %q: repeated, or not a DNS label", c.Name, r.Name)
		}
		roles[r.Name] = true
		exits = exits || r.Finish == Exits
	}
	if !exits {
		v.addf("cell %q: no role exits, so no trial would end", c.Name)
	}
	staged := func(name string, dataset bool) bool {
		for _, s := range f.Stages {
			if s.Name == name {
				return (s.Dataset != nil) == dataset && slices.Contains(c.Stages, name)
			}
		}
		return false
	}
	for _, s := range c.Stages {
		if !staged(s, false) && !staged(s, true) {
			v.addf("cell %q: its fleet has no staging %q", c.Name, s)
		}
	}
	for _, r := range c.Roles {
		if r.Finish != Exits && r.Finish != Stopped && r.Finish != Background {
			v.addf("cell %q: role %q: finish %q is none of %q, %q and %q", c.Name, r.Name, r.Finish, Exits, Stopped, Background)
		}
		if len(r.Args) == 0 || len(r.Machines) == 0 || r.CPUs < 0 || r.GPUs < 0 || r.MemoryMiB < 0 {
			v.addf("cell %q: role %q: no program, no machine, or a negative resource", c.Name, r.Name)
		}
		for _, a := range r.Artifacts {
			if !nameRE.MatchString(a) {
				v.addf("cell %q: role %q: artifact %q: no base name", c.Name, r.Name, a)
			}
		}
		for _, m := range r.Machines {
			if m < 0 || m >= len(f.Machines) {
				v.addf("cell %q: role %q: fleet %q has no machine %d", c.Name, r.Name, f.Name, m)
			}
		}
		for _, a := range r.Args {
			if l := a.Late; l != nil && (l.Role != "" && !roles[l.Role] || l.File != "" && !staged(l.File, false) || l.Dataset != "" && !staged(l.Dataset, true)) {
				v.addf("cell %q: role %q: argument %q: its late value %+v is not to be had", c.Name, r.Name, a.Text, *l)
			}
		}
	}
}

func (v *validator) steps() {
	p := v.p
	if len(p.Steps) > math.MaxInt32 {
		v.addf("%d steps are too many", len(p.Steps))
		return
	}
	type ends struct{ provision, release, last int }
	fleets := make([]ends, len(p.Fleets))
	for i := range fleets {
		fleets[i] = ends{-1, -1, -1}
	}
	type trial struct{ cell, repeat int32 }
	trials := map[trial]bool{}
	stages := map[[2]int32]bool{}
	for i := range p.Steps {
		s := &p.Steps[i]
		if s.Fleet < 0 || int(s.Fleet) >= len(p.Fleets) {
			v.addf("step %d: no fleet", i)
			return
		}
		f := &fleets[s.Fleet]
		switch s.Kind {
		case Provision:
			if f.provision >= 0 || f.last >= 0 {
				v.addf("step %q: second, or after another step of its fleet", p.StepID(i))
			}
			f.provision = i
		case Release:
			if f.release >= 0 || len(s.After) > 0 {
				v.addf("step %q: second, or with a list of steps to follow", p.StepID(i))
			}
			f.release = i
			continue
		case Stage:
			if s.Stage < 0 || int(s.Stage) >= len(p.Fleets[s.Fleet].Stages) || stages[[2]int32{s.Fleet, s.Stage}] {
				v.addf("step %d: no such staging, or a second time", i)
				return
			}
			stages[[2]int32{s.Fleet, s.Stage}] = true
		case Trial:
			if s.Cell < 0 || int(s.Cell) >= len(p.Cells) {
				v.addf("step %d: no cell", i)
				return
			}
			if t := (trial{s.Cell, s.Repeat}); trials[t] || s.Repeat < 1 || int(s.Repeat) > p.Repeats || p.Cells[s.Cell].Fleet != int(s.Fleet) {
				v.addf("step %q: second, a repeat out of range, or on another fleet than its cell", p.StepID(i))
			}
			trials[trial{s.Cell, s.Repeat}] = true
		}
		f.last = max(f.last, i)
		if s.Kind != Provision && f.provision < 0 {
			v.addf("step %q: before its fleet's provision", p.StepID(i))
		}
		prev := int32(-1)
		for _, a := range s.After {
			if a <= prev || int(a) >= i || a < 0 {
				v.addf("step %q: its list of steps to follow is not ascending, or points forward", p.StepID(i))
				break
			}
			prev = a
		}
		if s.Kind != Provision && len(s.After) == 0 {
			v.addf("step %q: follows nothing", p.StepID(i))
		}
	}
	for i, f := range fleets {
		if f.provision < 0 || f.release < 0 || f.release < f.last {
			v.addf("fleet %q: needs one provision and, after all its steps, one release", p.Fleets[i].Name)
		}
	}
}

func (v *validator) figures() {
	metrics := map[string]bool{}
	for _, m := range v.p.Metrics {
		metrics[m.Name] = true
	}
	for _, f := range v.p.Figures {
		if !nameRE.MatchString(f.Name) || !metrics[f.Metric] {
			v.addf("figure %q: ill named, or of an unknown metric %q", f.Name, f.Metric)
		}
		switch f.As {
		case Absolute, Ratio, Degradation:
		default:
			v.addf("figure %q: shown as %q: unknown", f.Name, f.As)
		}
		if len(f.Rows) == 0 || (f.As != Absolute) != (len(f.Baseline) > 0) {
			v.addf("figure %q: no rows, or a baseline that does not fit to %q", f.Name, f.As)
		}
	}
	if !slices.IsSortedFunc(v.p.Sources, func(a, b Source) int {
		switch {
		case a.ID < b.ID:
			return -1
		case a.ID > b.ID:
			return 1
		default:
			return 0
		}
	}) {
		v.addf("sources are not sorted by id")
	}
}
