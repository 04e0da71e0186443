package executor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
)

// job is what a worker may know: the plan, which nobody changes, and a copy of what the loop
// knows of the fleet.
type job struct {
	p        *plan.Plan
	o        *Options
	led      *cloudLedger
	step     *plan.Step
	id       string
	attempt  int
	retry    bool // an earlier attempt of this process failed
	fleet    *plan.Fleet
	backend  *backends.Backend
	machines []backends.Machine
	staged   map[string][]string
	begun    time.Time
	spans    []journal.Span
	doubts   []string // about the trial, found while its files came home
}

func (l *loop) job(i int32) *job {
	s := &l.p.Steps[i]
	f := &l.p.Fleets[s.Fleet]
	fs := &l.fleets[s.Fleet]
	return &job{
		p: l.p, o: &l.o, led: l.led.of(l.cloud(f.Cloud)), step: s, id: l.p.StepID(int(i)), attempt: l.attempt[i], retry: l.out[i].Attempts > 1,
		fleet: f, backend: l.o.Backends[f.Cloud], machines: fs.machines, staged: maps.Clone(fs.staged),
	}
}

// cloud gives a cloud of the plan, which has it: Validate sees to it.
func (l *loop) cloud(name string) *plan.Cloud {
	return &l.p.Clouds[slices.IndexFunc(l.p.Clouds, func(c plan.Cloud) bool { return c.Name == name })]
}

// perform runs one attempt at a step and sends its outcome. soft ends when the run drains.
func (l *loop) perform(ctx, soft context.Context, s start, j *job) {
	j.begun = time.Now()
	out := outcome{step: s.step, attempt: s.attempt}
	end := journal.Event{Kind: journal.Ended, Step: j.id, Attempt: s.attempt}
	timeout := time.Duration(j.p.Policy.Of(j.step.Kind).Timeout)
	switch j.step.Kind {
	case plan.Provision:
		out.err = j.within(soft, timeout, func(ctx context.Context) (err error) {
			if j.retry { // what failed to come up is in the way, and counts against the quota
				if err := release(ctx, j.backend, j.owner(), j.led); err != nil {
					return err
				}
			}
			out.machines, err = j.provision(ctx)
			return err
		})
		end.Machines = facts(out.machines)
	case plan.Stage:
		out.err = j.within(soft, timeout, func(ctx context.Context) (err error) {
			out.paths, end.Files, err = j.stage(ctx, &j.fleet.Stages[j.step.Stage])
			return err
		})
	case plan.Trial:
		var groups []*group
		out.err = j.within(ctx, timeout+trialSlack, func(ctx context.Context) (err error) {
			groups, err = j.ready(ctx, timeout, &out, &end)
			return err
		})
		if out.err == nil {
			out.err = j.queue(soft, groups)
		}
		if out.err == nil {
			// The machine itself ends processes at the timeout; the slack is for bringing logs home.
			out.err = j.within(ctx, timeout+trialSlack, func(ctx context.Context) error {
				return j.trial(ctx, groups, &out, &end)
			})
		}
	case plan.Release:
		out.err = j.within(ctx, timeout, func(ctx context.Context) error {
			return release(ctx, j.backend, j.owner(), j.led)
		})
	}
	end.Spans = j.spans
	out.events = append(out.events, end)
	l.outcomes <- out
}

// trialSlack is what a trial has on top of its timeout to be started, stopped and collected.
const trialSlack = 10 * time.Minute

// within calls f with a time limit. When the limit or the end of ctx is what stopped it, the
// error says so, whatever f made of it.
func (j *job) within(ctx context.Context, timeout time.Duration, f func(context.Context) error) error {
	late := &backends.Error{Class: backends.Infra, Op: j.id, Err: fmt.Errorf("not done after its time limit of %v", timeout)}
	if j.step.Kind == plan.Trial {
		late.Class = backends.Workload
	}
	limited, cancel := context.WithTimeoutCause(ctx, timeout, late)
	defer cancel()
	err := f(limited)
	if err == nil || limited.Err() == nil {
		return err
	}
	cause := context.Cause(limited)
	if errors.Is(cause, late) && !errors.Is(err, late) {
		return fmt.Errorf("%w (it was at: %w)", cause, err)
	}
	return cause
}

// span times f under a name.
func (j *job) span(name string, f func() error) error {
	start := time.Now()
	err := f()
	j.spans = append(j.spans, journal.Span{Name: name, Start: start.Sub(j.begun), Took: time.Since(start)})
	return err
}

func (j *job) owner() backends.Owner { return backends.Owner{Run: j.o.Run, Fleet: j.fleet.Name} }

func (j *job) provision(ctx context.Context) ([]backends.Machine, error) {
	req := backends.FleetRequest{Owner: j.owner(), Until: j.begun.Add(j.o.Lease), Ledger: j.led, Hosts: backends.Hosts(j.fleet.Hosts)}
	for _, m := range j.fleet.Machines {
		req.Machines = append(req.Machines, backends.MachineRequest{Name: m.Name, Spec: m.Spec})
	}
	var machines []backends.Machine
	err := j.span("provision", func() (err error) {
		machines, err = j.backend.Provision(ctx, req)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(machines) != len(req.Machines) {
		return nil, backends.Errorf(backends.Internal, j.id, "got %d machines, asked for %d", len(machines), len(req.Machines))
	}
	for _, m := range machines {
		if kind := m.Access.Kind(); kind != machines[0].Access.Kind() || j.backend.Launchers[kind] == nil {
			return nil, backends.Errorf(backends.Internal, j.id, "machine %q is reached by %q, for which there is no launcher", m.Name, kind)
		}
	}
	err = j.span("prepare", func() (err error) {
		machines, err = j.launcher(machines[0]).Prepare(ctx, machines)
		return err
	})
	if err != nil {
		return nil, err
	}
	return machines, stand(req.Hosts, machines)
}

// stand checks that machines stand on hosts as was asked for. A host that the provider does not
// tell proves nothing, and refutes nothing.
func stand(hosts backends.Hosts, ms []backends.Machine) error {
	on := map[string]string{}
	for _, m := range ms {
		other, taken := on[m.Host]
		switch {
		case m.Host == "":
			continue
		case taken && hosts == backends.DifferentHosts:
			return backends.Errorf(backends.Invalid, "hosts", "machines %q and %q both stand on host %q; different ones were asked for", other, m.Name, m.Host)
		case !taken && len(on) > 0 && hosts == backends.SameHost:
			return backends.Errorf(backends.Invalid, "hosts", "machine %q stands on host %q, another on a different one; one host was asked for", m.Name, m.Host)
		}
		on[m.Host] = m.Name
	}
	return nil
}

func (j *job) launcher(m backends.Machine) backends.Launcher {
	return j.backend.Launchers[m.Access.Kind()]
}

// stage puts one staging onto every machine and returns its path on each.
func (j *job) stage(ctx context.Context, s *plan.Staging) (paths []string, files []journal.FileSum, err error) {
	err = j.span("stage", func() error {
		for i, m := range j.machines {
			var p string
			var err error
			if s.Dataset != nil {
				var sum journal.FileSum
				if p, sum, err = j.dataset(ctx, i, s.Dataset); err == nil && len(files) > 0 && files[0] != sum {
					err = backends.Errorf(backends.Invalid, "dataset "+s.Name, "made differently here (%+v) and on machine %s (%+v)", sum, j.machines[0].Name, files[0])
				}
				files = []journal.FileSum{sum}
			} else {
				var f backends.File
				if f, err = j.o.Files(s.File); err != nil {
					return &backends.Error{Class: backends.Internal, Op: "file " + s.File, Err: err}
				}
				files = []journal.FileSum{{Name: f.Name, SHA256: f.SHA256}}
				p, err = j.launcher(m).Stage(ctx, m, f)
			}
			if err != nil {
				return fmt.Errorf("machine %s: %w", m.Name, err)
			}
			paths = append(paths, p)
		}
		return nil
	})
	return paths, files, err
}

// refresh makes sure of the fleet before another attempt at a trial: machines that vanished are
// made again, files are put there again.
func (j *job) refresh(ctx context.Context, out *outcome) error {
	machines, err := j.provision(ctx)
	if err != nil && backends.ClassOf(err).Temporary() {
		if err := release(ctx, j.backend, j.owner(), j.led); err != nil {
			return err
		}
		machines, err = j.provision(ctx)
	}
	if err != nil {
		return err
	}
	j.machines, j.staged = machines, map[string][]string{}
	for _, datasets := range []bool{false, true} { // files first: dlx itself makes datasets
		for i := range j.fleet.Stages {
			s := &j.fleet.Stages[i]
			if (s.Dataset != nil) != datasets {
				continue
			}
			if j.staged[s.Name], _, err = j.stage(ctx, s); err != nil {
				return err
			}
		}
	}
	out.fresh = &fresh{j.machines, j.staged}
	return nil
}

// selfStaging is the staging of dlx's own executable.
const selfStaging = "dlx"

// helper runs a short process on machine i and returns what it printed.
func (j *job) helper(ctx context.Context, i int, name string, args ...string) (string, error) {
	m := j.machines[i]
	l := j.launcher(m)
	id := fmt.Sprintf("helper/%s/%s/a%d/%s", j.id, m.Name, j.attempt, name) // unique in the fleet
	if err := l.Start(ctx, backends.Single(m, backends.Process{ID: id, Args: args, Timeout: time.Duration(j.p.Policy.Stage.Timeout)})); err != nil {
		return "", err
	}
	id = backends.ProcessID(id, 0)
	exit, err := l.Wait(ctx, m, id)
	if err != nil {
		return "", err
	}
	if exit.Code != 0 {
		return "", backends.Errorf(backends.Workload, name, "exit code %d: %s", exit.Code, tail(ctx, l, m, id, backends.Stderr))
	}
	r, err := l.Open(ctx, m, id, backends.Stdout, 0)
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, 1<<16))
	return string(b), err
}

// tail returns the last lines of a file for an error message, at most 300 bytes.
func tail(ctx context.Context, l backends.Launcher, m backends.Machine, id, name string) string {
	r, err := l.Open(ctx, m, id, name, 0)
	if err != nil {
		return "no " + name
	}
	defer r.Close()
	b, _ := io.ReadAll(io.LimitReader(r, 1<<20))
	return lastLines(string(b))
}

func lastLines(s string) string {
	s = strings.TrimSpace(s)
	if s == "" {
		return "it printed nothing"
	}
	if len(s) > 300 {
		s = s[len(s)-300:]
		if _, after, ok := strings.Cut(s, "\n"); ok {
			s = after
		}
	}
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\n", " | "), "?")
}

func facts(ms []backends.Machine) []journal.MachineFact {
	var out []journal.MachineFact
	for _, m := range ms {
		out = append(out, journal.MachineFact{Name: m.Name, Host: m.Host, Facts: m.Facts})
	}
	return out
}
