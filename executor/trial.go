package executor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
)

// proc is one process of a trial.
type proc struct {
	role  *plan.Role
	index int
	m     backends.Machine
	l     backends.Launcher
	p     backends.Process
	exit  backends.Exit
}

// ready gives the processes of a trial, on machines that are as they should be.
func (j *job) ready(ctx context.Context, timeout time.Duration, out *outcome, end *journal.Event) ([]*group, error) {
	if j.retry {
		if err := j.refresh(ctx, out); err != nil {
			return nil, err
		}
	}
	end.Machines = facts(j.machines)
	return j.groups(&j.p.Cells[j.step.Cell], timeout)
}

// queue waits for the turn of all processes of a trial where they stand in a queue, before any of them
// is started: what waits for others is not the trial's time, nor its failure.
func (j *job) queue(ctx context.Context, groups []*group) error {
	start, queued := time.Now(), false
	var queuers []backends.Queuer
	of := map[backends.Queuer][]backends.Group{}
	for _, g := range groups {
		if q, ok := g.l.(backends.Queuer); ok {
			if of[q] == nil {
				queuers = append(queuers, q)
			}
			of[q] = append(of[q], g.Group)
		}
	}
	for _, q := range queuers {
		in, err := q.Queue(ctx, of[q])
		if err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			j.abandon(ctx, procsOf(groups))
			return fmt.Errorf("queue: %w", err)
		}
		queued = queued || in
	}
	if queued {
		j.spans = append(j.spans, journal.Span{Name: "queue", Start: start.Sub(j.begun), Took: time.Since(start)})
	}
	return nil
}

func procsOf(groups []*group) []*proc {
	var procs []*proc
	for _, g := range groups {
		procs = append(procs, g.procs...)
	}
	return procs
}

// trial runs the trial protocol (see protocol.go), brings all files home and reads them. What was
// read is in the events before anything of the fleet may be released.
func (j *job) trial(ctx context.Context, groups []*group, out *outcome, end *journal.Event) error {
	cell := &j.p.Cells[j.step.Cell]
	procs := procsOf(groups)
	if err := j.runProcs(ctx, groups, procs); err != nil {
		j.abandon(ctx, procs)
		if ctx.Err() == nil { // their logs tell why; what cannot be had is not missed
			end.Procs, _ = j.collect(ctx, procs)
			j.probed(procs, end.Machines)
		}
		return err
	}
	err := j.span("collect", func() (err error) {
		end.Procs, err = j.collect(ctx, procs)
		j.probed(procs, end.Machines)
		return err
	})
	if err != nil {
		return err
	}
	if err := failure(procs, j.attemptDir(), j.o.Dir); err != nil {
		return err
	}
	if err := overlap(procs, end.Procs); err != nil {
		return err
	}
	var reading Reading
	err = j.span("parse", func() (err error) {
		reading, err = j.o.Parse(Trial{Plan: j.p, Cell: cell, Repeat: int(j.step.Repeat), Procs: end.Procs, Dir: j.o.Dir})
		return err
	})
	if err != nil {
		return &backends.Error{Class: backends.Workload, Op: "output", Err: err}
	}
	reading.Warnings = append(j.doubts, reading.Warnings...)
	end.Warnings = reading.Warnings
	if reading.Invalid != "" {
		return backends.Errorf(backends.Invalid, "trial", "%s", reading.Invalid)
	}
	if end.Procs, err = j.keep(end.Procs); err != nil {
		return err
	}
	for i := range reading.Observations {
		if f := &reading.Observations[i].File; strings.HasPrefix(*f, j.attemptDir()+"/") {
			*f = j.trialDir() + strings.TrimPrefix(*f, j.attemptDir())
		}
	}
	out.events = append(out.events, journal.Event{
		Kind: journal.Observed, Step: j.id, Attempt: j.attempt, Key: cell.Key, Repeat: int(j.step.Repeat),
		Observations: reading.Observations, Warnings: reading.Warnings, Procs: end.Procs, Machines: end.Machines,
	})
	return nil
}

// group is the processes of a role, as they are started.
type group struct {
	backends.Group
	l     backends.Launcher
	procs []*proc
}

// groupID names a role's processes on their machines. The key is part of it, so that a process
// of an older plan is never taken for one of this.
func (j *job) groupID(c *plan.Cell, role string) string {
	return path.Join(plan.TrialID(c.Name, int(j.step.Repeat)), fmt.Sprintf("%.12s-a%d", c.Key, j.attempt), role)
}

// groups resolves the roles of a cell: addresses, paths and indexes are known now.
func (j *job) groups(c *plan.Cell, timeout time.Duration) ([]*group, error) {
	var out []*group
	first := shares(c)
	for _, finish := range []string{plan.Background, plan.Stopped, plan.Exits} { // in the order of their start
		for i := range c.Roles {
			r := &c.Roles[i]
			if r.Finish != finish {
				continue
			}
			g := &group{l: j.launcher(j.machines[r.Machines[0]]), Group: backends.Group{
				ID: j.groupID(c, r.Name), Timeout: timeout, CPUs: r.CPUs, GPUs: r.GPUs, MemoryMiB: r.MemoryMiB,
			}}
			if finish != plan.Exits { // it was started before those it serves, and must outlive them
				g.Timeout += trialSlack
			}
			if len(r.Env) > 0 {
				g.Env = map[string]string{}
				for _, e := range r.Env {
					g.Env[e.Name] = e.Value
				}
			}
			for k, mi := range r.Machines {
				var args []string
				for _, a := range r.Args {
					text, err := j.arg(c, a, mi, k)
					if err != nil {
						return nil, err
					}
					args = append(args, text)
				}
				g.Machines, g.Args = append(g.Machines, j.machines[mi]), append(g.Args, args)
				g.FirstCPU, g.FirstGPU = append(g.FirstCPU, first[r.Name][k].cpu), append(g.FirstGPU, first[r.Name][k].gpu)
				g.procs = append(g.procs, &proc{role: r, index: k, m: j.machines[mi], l: g.l})
			}
			for k, p := range g.procs {
				p.p = g.Process(k)
			}
			out = append(out, g)
		}
	}
	return out, nil
}

// A share is where a process's CPUs and GPUs begin on its machine.
type share struct{ cpu, gpu int }

// shares gives the processes of a cell, by role and index, CPUs and GPUs of their own where
// several stand on a machine.
func shares(c *plan.Cell) map[string][]share {
	next := map[int]share{} // by machine
	out := map[string][]share{}
	for i := range c.Roles {
		r := &c.Roles[i]
		for _, m := range r.Machines {
			s := next[m]
			out[r.Name] = append(out[r.Name], s)
			next[m] = share{s.cpu + r.CPUs, s.gpu + r.GPUs}
		}
	}
	return out
}

// arg resolves an argument of process k of a role, on machine mi of the fleet.
func (j *job) arg(c *plan.Cell, a plan.Arg, mi, k int) (string, error) {
	l := a.Late
	switch {
	case l == nil:
		return a.Text, nil
	case l.Index:
		return a.Text + strconv.Itoa(k), nil
	case l.Role != "":
		var addrs []string
		for i := range c.Roles {
			if c.Roles[i].Name == l.Role {
				for n, m := range c.Roles[i].Machines {
					machine := j.machines[m]
					addrs = append(addrs, j.launcher(machine).Address(machine, j.groupID(c, l.Role), n)+":"+strconv.Itoa(l.Port+n))
				}
			}
		}
		return a.Text + strings.Join(addrs, ","), nil
	default:
		name := l.File + l.Dataset // exactly one is set
		if paths := j.staged[name]; mi < len(paths) {
			return a.Text + paths[mi], nil
		}
		return "", backends.Errorf(backends.Internal, j.id, "%q is not staged on machine %d", name, mi)
	}
}

// abandon stops whatever an attempt left running, so that the next has the machines for itself.
// When the whole run is stopped now, the processes stay: the next run attaches to them.
func (j *job) abandon(ctx context.Context, procs []*proc) {
	if ctx.Err() != nil && !errors.As(context.Cause(ctx), new(*backends.Error)) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*stopGrace)
	defer cancel()
	var g errgroup.Group
	for _, p := range procs {
		g.Go(func() error { return p.l.Stop(ctx, p.m, p.p.ID, stopGrace) })
	}
	_ = g.Wait() // a machine that is gone runs nothing
}

// failure reports the first process that ended as it should not have.
func failure(procs []*proc, dir, root string) error {
	var worst *proc
	for _, p := range procs {
		bad := p.role.Finish == plan.Exits && (p.exit.Code != 0 || p.exit.TimedOut) && !p.exit.Stopped
		if bad && (worst == nil || p.exit.Started.Add(p.exit.Elapsed).Before(worst.exit.Started.Add(worst.exit.Elapsed))) {
			worst = p
		}
	}
	if worst == nil {
		return nil
	}
	if worst.exit.TimedOut {
		return backends.Errorf(backends.Workload, worst.name(), "still ran after its time limit of %v", worst.p.Timeout)
	}
	text, _ := os.ReadFile(filepath.Join(root, dir, worst.name(), backends.Stderr))
	if len(strings.TrimSpace(string(text))) == 0 {
		text, _ = os.ReadFile(filepath.Join(root, dir, worst.name(), backends.Stdout))
	}
	return backends.Errorf(backends.Workload, worst.name(), "exit code %d: %s", worst.exit.Code, lastLines(string(text)))
}

// trialDir and attemptDir are folders of the run folder, slash-separated.
func (j *job) trialDir() string {
	return path.Join("logs", plan.TrialID(j.p.Cells[j.step.Cell].Name, int(j.step.Repeat)))
}

func (j *job) attemptDir() string {
	return path.Join(j.trialDir(), "attempt-"+strconv.Itoa(j.attempt))
}

// collect brings the files of all processes home, into the attempt's folder.
func (j *job) collect(ctx context.Context, procs []*proc) ([]journal.Proc, error) {
	out := make([]journal.Proc, len(procs))
	missing := make([][]string, len(procs))
	var g errgroup.Group
	for i, p := range procs {
		missing[i] = make([]string, 3+len(p.role.Artifacts))
		out[i] = journal.Proc{Role: p.role.Name, Index: p.index, Machine: p.m.Name, Exit: p.exit}
		g.Go(func() error {
			var files errgroup.Group
			names := append([]string{backends.Stdout, backends.Stderr, backends.Probe}, p.role.Artifacts...)
			sums := make([]journal.FileSum, len(names))
			for k, name := range names {
				files.Go(func() (err error) {
					sums[k], err = j.fetch(ctx, p, name)
					switch {
					case !errors.Is(err, backends.ErrNotFound) || k < 2:
					case name == backends.Probe: // a machine may have nothing to say of itself
						return nil
					default:
						missing[i][k] = p.name() + " left no file " + name
						return nil
					}
					if err != nil {
						return fmt.Errorf("%s: %s: %w", p.name(), name, err)
					}
					return nil
				})
			}
			err := files.Wait()
			for _, s := range sums {
				if s.Name != "" && s.SHA256 != "" {
					out[i].Files = append(out[i].Files, s)
				}
			}
			return err
		})
	}
	err := g.Wait()
	j.doubts = slices.DeleteFunc(slices.Concat(missing...), func(s string) bool { return s == "" })
	return out, err
}

func (j *job) fetch(ctx context.Context, p *proc, name string) (sum journal.FileSum, err error) {
	r, err := p.l.Open(ctx, p.m, p.p.ID, name, 0)
	if err != nil {
		return sum, err
	}
	defer r.Close()
	sum.Name = path.Join(j.attemptDir(), p.name(), name)
	file := filepath.Join(j.o.Dir, filepath.FromSlash(sum.Name))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return sum, internal(err)
	}
	f, err := os.Create(file)
	if err != nil {
		return sum, internal(err)
	}
	h := sha256.New()
	to := &writer{w: io.MultiWriter(f, h)}
	sum.Size, err = io.Copy(to, r)
	if err2 := errors.Join(to.err, f.Sync(), f.Close()); err2 != nil {
		return sum, internal(err2) // this computer's fault, not the machine's
	}
	sum.SHA256 = hex.EncodeToString(h.Sum(nil))
	return sum, err
}

// writer remembers that it was writing which failed.
type writer struct {
	w   io.Writer
	err error
}

func (w *writer) Write(b []byte) (int, error) {
	n, err := w.w.Write(b)
	if err != nil {
		w.err = err
	}
	return n, err
}

func internal(err error) error {
	return &backends.Error{Class: backends.Internal, Op: "run folder", Err: err}
}

// keep moves the files of an attempt that went through to where scripts look for them:
// logs/<trial>/<role>-<index>/. Those of failed attempts stay in their own folders.
func (j *job) keep(procs []journal.Proc) ([]journal.Proc, error) {
	from := filepath.Join(j.o.Dir, filepath.FromSlash(j.attemptDir()))
	for i := range procs {
		name := procs[i].Role + "-" + strconv.Itoa(procs[i].Index)
		to := filepath.Join(j.o.Dir, filepath.FromSlash(j.trialDir()), name)
		if err := os.RemoveAll(to); err != nil { // of an attempt that a crash kept from the journal
			return nil, internal(err)
		}
		if err := os.Rename(filepath.Join(from, name), to); err != nil {
			return nil, internal(err)
		}
		for k := range procs[i].Files {
			procs[i].Files[k].Name = path.Join(j.trialDir(), name, path.Base(procs[i].Files[k].Name))
		}
	}
	if err := os.Remove(from); err != nil {
		return nil, internal(err)
	}
	return procs, nil
}
