package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/pflag"

	"dlx.dev/dlx/backends/kubernetes"
	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/spec/diag"
	"dlx.dev/dlx/spec/words"
)

// detachOptions are the flags of dlx run --detach.
type detachOptions struct {
	detach           bool
	namespace, image string
	volume           kubernetes.Volume
}

const (
	detachNamespace = "dlx"
	detachSize      = "5Gi" // logs of some ten thousand trials, and dlx itself
)

func (o *detachOptions) flags(f *pflag.FlagSet) {
	f.BoolVar(&o.detach, "detach", false, "run inside the testbed's cluster, and return")
	f.StringVar(&o.namespace, "namespace", "", "with --detach: the `NAMESPACE` of dlx and of its trials (default the testbed's, or "+detachNamespace+")")
	f.StringVar(&o.image, "image", "", "with --detach: the `IMAGE` of dlx's pod, with a shell (default the machines')")
	f.StringVar(&o.volume.Class, "storage-class", "", "with --detach: the `CLASS` of the volume for the run folder (default the cluster's)")
	f.StringVar(&o.volume.Size, "storage-size", detachSize, "with --detach: the `SIZE` of that volume")
}

func (o *detachOptions) check(f *pflag.FlagSet, s *selection) error {
	if !o.detach {
		for _, name := range []string{"namespace", "image", "storage-class", "storage-size"} {
			if f.Changed(name) {
				return usage(fmt.Errorf("--%s belongs to --detach", name))
			}
		}
		return nil
	}
	if s.rehearse {
		return usage(errors.New("--detach: a rehearsal takes seconds: run it here"))
	}
	if err := kubernetes.CheckSize(o.volume.Size); err != nil {
		return usage(fmt.Errorf("--storage-size: %q: %w", o.volume.Size, err))
	}
	return nil
}

// run puts the run of a plan into its cluster, or finds it there.
func (o *detachOptions) run(ctx context.Context, p *plan.Plan, s *selection, study string, ro runOptions, stdout, stderr io.Writer) error {
	cloud, err := detachable(p, s, study)
	if err != nil {
		return err
	}
	ctx, end := interruptible(ctx)
	a := &away{plan: p, stderr: stderr, volume: o.volume, jobs: ro.jobs, failFast: ro.failFast, dir: s.runDir(p)}
	err = a.find(ctx, cloud, o)
	if err == nil {
		err = a.goOn(ctx)
	}
	if a.cluster != nil {
		err = errors.Join(err, a.cluster.Close())
	}
	if a.folder != nil {
		a.folder.close()
	}
	if code := end(); code != 0 {
		return &exitError{code, errors.New("interrupted: the same command again goes on, and dlx gc removes what there is")}
	}
	if err != nil {
		return err
	}
	return a.show(stdout, ro.output)
}

// detachable gives the one cloud of a plan, if a pod in it can do all of the plan.
func detachable(p *plan.Plan, s *selection, study string) (*plan.Cloud, error) {
	var mistakes diag.List
	for i := range p.Clouds {
		c := &p.Clouds[i]
		why := ""
		switch {
		case c.Backend == "sandbox":
			why = "the embedded sandbox is in this process: there is no cluster to detach a run to"
		case c.Backend != "kubernetes":
			why = fmt.Sprintf("a detached run has the rights of its pod and no login: it cannot use backend %q; run dlx on a computer that stays on, or choose the cells that a cluster runs, by --only", c.Backend)
		case i > 0:
			why = fmt.Sprintf("a detached run has the rights of its pod in one cluster: it cannot use cloud %q as well; choose the cells of one, by --only", p.Clouds[0].Name)
		}
		if why == "" {
			continue
		}
		var pos diag.Pos
		if s.loaded != nil {
			for _, t := range s.loaded.Clouds {
				if t.Name == c.Name {
					pos = t.Pos
				}
			}
		}
		mistakes.Addf(pos, "testbed.clouds."+c.Name, "%s", why)
	}
	mistakes = mistakes.In(slashPath(testbedDir(s.testbed, study)))
	if err := mistakes.Err(); err != nil {
		return nil, usage(err)
	}
	if len(p.Clouds) == 0 || len(p.Fleets) == 0 {
		return nil, usage(errors.New("--detach: the plan has no trials"))
	}
	return &p.Clouds[0], nil
}

// away is a run on its way into a cluster.
type away struct {
	plan     *plan.Plan
	dir      string
	folder   *folder
	mark     *detached
	cluster  *kubernetes.Detached
	state    kubernetes.DetachedState
	volume   kubernetes.Volume
	jobs     int
	failFast bool
	stderr   io.Writer
	note     string // what was found, if nothing was started
}

func (a *away) say(format string, args ...any) { fmt.Fprintf(a.stderr, format+"\n", args...) }

// machineOf gives a machine of a plan for the pod and the rights of dlx: the first, or the first that
// claims devices.
func machineOf(p *plan.Plan) json.RawMessage {
	for _, f := range p.Fleets {
		for _, m := range f.Machines {
			if kubernetes.ClaimsDevices(m.Spec) {
				return m.Spec
			}
		}
	}
	return p.Fleets[0].Machines[0].Spec
}

// find takes the run folder and finds out whether the run is in the cluster already.
func (a *away) find(ctx context.Context, cloud *plan.Cloud, o *detachOptions) (err error) {
	own, err := kubernetes.NamespaceOf(cloud.Config)
	if err != nil {
		return usage(err)
	}
	if own != "" && o.namespace != "" && own != o.namespace {
		return usage(fmt.Errorf("--namespace: the testbed says that trials are in namespace %q: leave one of them out", own))
	}
	ns := own
	for _, n := range []string{o.namespace, detachNamespace} {
		if ns == "" {
			ns = n
		}
	}
	if a.folder, err = lockFolder(a.dir, a.plan, ""); err != nil {
		return err
	}
	if a.mark, err = readDetached(a.dir); err != nil {
		return usage(err)
	}
	switch m := a.mark; {
	case m == nil || m.Removed:
		if n := len(a.folder.history.Owned()); n > 0 && (own == "" || m != nil) {
			return &exitError{exitEnvironment, fmt.Errorf("%s: %s of this run may still exist, where a detached one does not look: dlx gc %s", a.dir, words.Count(n, "object"), a.dir)}
		}
		a.mark = &detached{Format: 1, Run: a.folder.runID, Study: a.plan.Study, Cloud: *cloud, Namespace: ns, Machine: machineOf(a.plan), Image: o.image}
	case m.Cloud.ID() != cloud.ID() || m.Namespace != ns && o.namespace+own != "":
		return &exitError{exitEnvironment, fmt.Errorf("%s: its run is detached, in %s; after dlx fetch %s and dlx gc %s it can go on elsewhere", a.dir, m.where(), a.dir, a.dir)}
	default: // as it was, but what a pod that is started now shall be
		a.mark.Machine = machineOf(a.plan)
		if o.image != "" {
			a.mark.Image = o.image
		}
	}
	a.folder.runID = a.mark.Run
	if a.cluster, err = a.mark.open(ctx); err != nil {
		return &exitError{exitEnvironment, err}
	}
	if a.state, err = a.cluster.State(ctx); err != nil {
		return &exitError{exitEnvironment, fmt.Errorf("cloud %s: %w", cloud.Name, err)}
	}
	return nil
}

// goOn starts the run, unless it is there and goes on, or has nothing left to do.
func (a *away) goOn(ctx context.Context) error {
	same, err := a.samePlan()
	if err != nil {
		return err
	}
	switch s := a.state; {
	case s.Phase == kubernetes.DetachedWaiting || s.Phase == kubernetes.DetachedRunning:
		if !same {
			return &exitError{exitEnvironment, fmt.Errorf("%s: its run goes on in %s by another plan: wait for its end, or end it by dlx gc --force %s", a.dir, a.mark.where(), a.dir)}
		}
		a.note = "goes on already"
		return nil
	case s.Phase == kubernetes.DetachedEnded && s.Exit == exitOK && same:
		a.note = "has ended"
		return nil
	}
	a.mark.Fetched, a.mark.Removed = false, false
	if err := a.mark.write(a.dir); err != nil { // the intent is here before the cluster is asked
		return usage(err)
	}
	if err := a.folder.writePlan(a.plan); err != nil {
		return err
	}
	if a.state.Phase == kubernetes.DetachedEnded {
		a.say("the run has ended before; it is continued")
		if err := a.cluster.Stop(ctx); err != nil {
			return &exitError{exitEnvironment, err}
		}
	}
	if err := a.start(ctx); err != nil {
		return &exitError{exitEnvironment, fmt.Errorf("cloud %s: %w; the same command again goes on, and dlx gc %s removes what there is", a.mark.Cloud.Name, err, a.dir)}
	}
	return nil
}

// samePlan reports whether the plan is that of the folder.
func (a *away) samePlan() (bool, error) {
	_, old, err := readFolder(a.dir)
	if err != nil || old == nil {
		return false, err
	}
	was, err := old.Digest()
	if err != nil {
		return false, err
	}
	is, err := a.plan.Digest()
	return is == was, err
}

// awayDoc is the documented form of run --detach --output json. Fields are only ever added.
type awayDoc struct {
	Format    int    `json:"format"`
	Run       string `json:"run"`
	Dir       string `json:"dir"`
	Namespace string `json:"namespace"`
	Job       string `json:"job"`
	State     string `json:"state"` // waiting, running or ended
	Started   bool   `json:"started"`
}

func (a *away) show(stdout io.Writer, form string) error {
	if form == "json" {
		return writeJSON(stdout, awayDoc{1, a.mark.Run, a.dir, a.mark.Namespace, a.cluster.Name(), string(a.state.Phase), a.note == ""})
	}
	what := a.note
	if what == "" {
		what = "goes on"
	}
	_, err := fmt.Fprintf(stdout, "run %s %s in %s, as job %s\nnext: dlx status %s, dlx fetch %s\n", a.mark.Run, what, a.mark.where(), a.cluster.Name(), a.dir, a.dir)
	return err
}
