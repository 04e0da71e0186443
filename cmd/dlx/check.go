package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/spec"
	"dlx.dev/dlx/spec/diag"
	"dlx.dev/dlx/spec/words"
)

// checkTime bounds the look at one cloud: a few dozen requests.
const checkTime = 3 * time.Minute

// checked is what a look at the live clouds of a plan found.
type checked struct {
	clouds   []string
	misfits  diag.List // what does not fit, and clouds that could not be asked
	warnings diag.List
}

// checkLive is check, until a signal comes.
func (s *selection) checkLive(ctx context.Context, p *plan.Plan, study, run string) (*checked, error) {
	ctx, end := interruptible(ctx)
	c, err := s.check(ctx, p, study, run)
	if code := end(); code != 0 {
		return nil, &exitError{code, errors.New("interrupted")}
	}
	return c, err
}

// check compares what a plan needs with what its clouds have, and the run of that ID, if there is one, in
// them. Nothing is made.
func (s *selection) check(ctx context.Context, p *plan.Plan, study, run string) (*checked, error) {
	out := &checked{}
	for _, c := range p.Clouds {
		out.clouds = append(out.clouds, c.Name)
		l := &locator{p: p, tb: s.loaded, cloud: c.Name}
		var needs []backends.Need
		needs, l.fleets = needsOf(p, c.Name)
		found, err := lookAt(ctx, c, run, needs)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		for _, f := range found {
			e := l.locate(f)
			if f.Warning {
				out.warnings = append(out.warnings, e)
			} else {
				out.misfits = append(out.misfits, e)
			}
		}
		if err != nil {
			e := l.locate(backends.Finding{Need: -1, Machine: -1})
			e.Msg = err.Error()
			out.misfits = append(out.misfits, e)
		}
	}
	dir := slashPath(testbedDir(s.testbed, study))
	for _, l := range []*diag.List{&out.misfits, &out.warnings} {
		*l = placed(*l, dir)
		l.Sort()
	}
	return out, nil
}

// unreleased is the ID of the run in a folder if it may have machines; "" if not.
func unreleased(dir string) (string, error) {
	if away, err := readDetached(dir); err != nil {
		return "", err
	} else if away != nil {
		return away.Run, nil
	}
	h, _, err := readFolder(dir)
	if err != nil || h == nil || len(h.Owned()) == 0 {
		return "", err
	}
	return h.Run, nil
}

// placed puts the testbed's folder in front of places, but where the testbed is built in.
func placed(l diag.List, dir string) diag.List {
	in := l.In(dir)
	for i, e := range in {
		if _, err := os.Stat(e.Pos.File); err != nil {
			in[i] = l[i]
		}
	}
	return in
}

// lookAt opens a cloud and compares. Its notes are kept nowhere, and nothing is derived from its
// secret, for nothing is made.
func lookAt(ctx context.Context, c plan.Cloud, run string, needs []backends.Need) (found []backends.Finding, err error) {
	state, err := os.MkdirTemp("", "dlx-check-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(state)) }()
	secret := make([]byte, 32)
	rand.Read(secret) // never fails
	limited, cancel := context.WithTimeoutCause(ctx, checkTime, fmt.Errorf("the cloud has not answered for %v", checkTime))
	defer cancel()
	b, err := openCloud(limited, c, secret, state)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeBackend(context.WithoutCancel(ctx), b)) }()
	checker, ok := b.Provider.(backends.Checker)
	if !ok {
		return nil, fmt.Errorf("backend %s cannot be checked", c.Backend)
	}
	return checker.Check(limited, run, needs)
}

// needsOf are the fleets of a plan in a cloud as a backend sees them, and their indexes in the plan.
func needsOf(p *plan.Plan, cloud string) (needs []backends.Need, fleets []int) {
	for i := range p.Fleets {
		f := &p.Fleets[i]
		if f.Cloud != cloud {
			continue
		}
		n := backends.Need{Fleet: f.Name, Hosts: backends.Hosts(f.Hosts), Loads: loadsOf(p, i)}
		for _, m := range f.Machines {
			n.Machines = append(n.Machines, backends.MachineRequest{Name: m.Name, Spec: m.Spec})
		}
		for _, u := range f.Uses {
			for _, c := range p.Capacity {
				if c.Resource == u.Resource {
					n.Uses = append(n.Uses, backends.Use{Resource: u.Resource, Units: u.Units, Capacity: c.Units})
				}
			}
		}
		needs, fleets = append(needs, n), append(fleets, i)
	}
	return needs, fleets
}

// loadsOf is what the trials of a fleet put onto each of its machines, the most of all cells.
func loadsOf(p *plan.Plan, fleet int) []backends.Load {
	out := make([]backends.Load, len(p.Fleets[fleet].Machines))
	for i := range p.Cells {
		c := &p.Cells[i]
		if c.Fleet != fleet {
			continue
		}
		one := make([]backends.Load, len(out))
		for _, r := range c.Roles {
			for _, m := range r.Machines {
				l := &one[m]
				l.Processes, l.CPUs, l.GPUs, l.MemoryMiB = l.Processes+1, l.CPUs+r.CPUs, l.GPUs+r.GPUs, l.MemoryMiB+r.MemoryMiB
			}
		}
		for m, l := range one {
			o := &out[m]
			o.Processes, o.CPUs, o.GPUs, o.MemoryMiB = max(o.Processes, l.Processes), max(o.CPUs, l.CPUs), max(o.GPUs, l.GPUs), max(o.MemoryMiB, l.MemoryMiB)
		}
	}
	return out
}

// locator finds the line of a testbed that asks for something.
type locator struct {
	p      *plan.Plan
	tb     *spec.Testbed // nil: a plan that was saved, without its lines
	cloud  string
	fleets []int // of the plan, by need
}

func (l *locator) locate(f backends.Finding) *diag.Error {
	e := &diag.Error{Path: "testbed.clouds." + quoteLabel(l.cloud), Msg: f.Msg}
	if f.Need >= 0 {
		return l.inMachine(e, &l.p.Fleets[l.fleets[f.Need]], f.Field)
	}
	if l.tb == nil {
		return e
	}
	for i := range l.tb.Clouds {
		if c := &l.tb.Clouds[i]; c.Name == l.cloud {
			e.Pos, e.Path = within(c.Pos, c.Fields, e.Path, f.Field)
		}
	}
	return e
}

// inMachine places a finding at a field of an orchestration's machine. Machines are all as the
// testbed says: which of them it is would tell nothing more.
func (l *locator) inMachine(e *diag.Error, f *plan.Fleet, field string) *diag.Error {
	root := "testbed.orchestrations." + quoteLabel(f.Orchestration) + ".machine"
	e.Path = root
	if field != "" {
		e.Path += "." + field
	}
	if l.tb == nil {
		return e
	}
	for i := range l.tb.Orchestrations {
		if o := &l.tb.Orchestrations[i]; o.Name == f.Orchestration {
			e.Pos, e.Path = within(o.Pos, o.Fields, root, field)
		}
	}
	return e
}

// within is the place of a field and its path; of what it is in where it is not written.
func within(whole diag.Pos, fields map[string]diag.Pos, root, field string) (diag.Pos, string) {
	at := root
	if field != "" {
		at += "." + field
	}
	for f := field; f != ""; f = f[:max(0, strings.LastIndexAny(f, ".["))] {
		if p := fields[f]; p.IsValid() {
			return p, at
		}
	}
	return whole, at
}

var plainLabel = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*$`)

// quoteLabel writes a field's name as CUE does.
func quoteLabel(s string) string {
	if plainLabel.MatchString(s) {
		return s
	}
	return fmt.Sprintf("%q", s)
}

// show prints what was found, each with its line.
func (c *checked) show(stdout, stderr io.Writer) {
	for _, e := range c.misfits {
		diag.Print(stderr, e, os.ReadFile)
	}
	for _, e := range c.warnings {
		w := *e
		w.Msg = "warning: " + w.Msg
		diag.Print(stderr, &w, os.ReadFile)
	}
	if len(c.misfits) == 0 {
		fmt.Fprintf(stdout, "checked: %s\n", c.verdict())
	}
}

func (c *checked) verdict() string {
	what := "cloud " + strings.Join(c.clouds, ", ")
	if len(c.clouds) > 1 {
		what = "clouds " + strings.Join(c.clouds, ", ")
	}
	text := what + ": what the plan needs is there"
	if n := len(c.misfits); n == 1 {
		text = what + ": 1 thing does not fit"
	} else if n > 1 {
		text = fmt.Sprintf("%s: %d things do not fit", what, n)
	}
	if n := len(c.warnings); n > 0 {
		text += ", " + words.Count(n, "warning")
	}
	return text
}

// err is what the exit code comes from.
func (c *checked) err() error {
	if c == nil || len(c.misfits) == 0 {
		return nil
	}
	return &exitError{exitEnvironment, errors.New("check: " + c.verdict())}
}

// checkDoc is the check's part of plan --output json.
type checkDoc struct {
	Fits     bool      `json:"fits"`
	Clouds   []string  `json:"clouds"`
	Misfits  diag.List `json:"misfits"`
	Warnings diag.List `json:"warnings"`
}

func (c *checked) doc() *checkDoc {
	if c == nil {
		return nil
	}
	d := &checkDoc{Fits: len(c.misfits) == 0, Clouds: c.clouds, Misfits: diag.List{}, Warnings: diag.List{}}
	d.Misfits, d.Warnings = append(d.Misfits, c.misfits...), append(d.Warnings, c.warnings...)
	return d
}
