package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/kubernetes"
	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/results"
	"dlx.dev/dlx/results/export"
	"dlx.dev/dlx/spec/words"
)

func newFetch() *cobra.Command {
	var lost lostOptions
	cmd := &cobra.Command{
		Use:   "fetch RUN",
		Short: "Bring home what a detached run has measured",
		Long: `Fetch brings the journal and the logs of a run that dlx run --detach put into a
cluster into its run folder, as far as they have come, and makes tables and workbook.
Each file is compared with the checksum in the journal. The same command again brings
what came since; one that was cut off goes on where it was.

Once a run has ended and all of it is fetched, dlx gc RUN removes it from the cluster.

With --testbed the run folder is not here, because the computer it was on is lost, or
another one: fetch makes it, for the one detached run of the testbed or that of --run.

Exit codes: 0 what there is was fetched, also if trials of it failed, 2 no detached run,
3 the cluster refused or cannot be reached, or a file is not what the journal says, 130
and 143 interrupted.`,
		Example: `  dlx fetch runs/mystudy
  dlx fetch --testbed cluster.cue --run mystudy-0123456789 runs/mystudy`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			err := lost.check()
			if err != nil {
				return err
			}
			ctx, end := interruptible(cmd.Context())
			if lost.testbed != "" {
				err = lost.adopt(ctx, args[0])
			}
			if err == nil {
				err = fetch(ctx, args[0], cmd.OutOrStdout(), cmd.ErrOrStderr())
			}
			if code := end(); code != 0 {
				return &exitError{code, errors.New("interrupted: dlx fetch " + args[0] + " goes on")}
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVarP(&lost.testbed, "testbed", "T", "", "look for the run there: a CUE file, or a `NAME` in testbeds/ of the study")
	f.StringVar(&lost.study, "study", ".", "with --testbed: the `FOLDER` in whose testbeds/ a NAME is looked for")
	f.StringVar(&lost.run, "run", "", "with --testbed: the `ID` of the run")
	f.StringVar(&lost.namespace, "namespace", "", "with --testbed: the `NAMESPACE` to look in (default the testbed's, or all)")
	return cmd
}

func fetch(ctx context.Context, dir string, stdout, stderr io.Writer) error {
	f, _, err := holdFolder(dir)
	if err != nil {
		return err
	}
	defer f.close()
	mark, err := readDetached(dir)
	switch {
	case err != nil:
		return usage(err)
	case mark == nil || mark.Removed:
		return usage(fmt.Errorf("%s: its run is not detached: all there is is here", dir))
	}
	cluster, err := mark.open(ctx)
	if err != nil {
		return &exitError{exitEnvironment, err}
	}
	defer cluster.Close() //nolint:errcheck // lets connections go
	c := &copying{dir: dir, mark: mark, cluster: cluster, stderr: stderr}
	state, err := c.all(ctx)
	if err != nil {
		return &exitError{exitEnvironment, fmt.Errorf("%s: %w; what came is here, and the same command again goes on", dir, err)}
	}
	if state.Phase == kubernetes.DetachedEnded || state.Phase == kubernetes.DetachedNone {
		mark.Fetched = true
		if err := mark.write(dir); err != nil {
			return &exitError{exitEnvironment, err}
		}
	}
	r, err := results.Load(dir)
	if err != nil {
		return usage(err)
	}
	if _, err := export.All(filepath.Join(dir, results.ResultsDir), results.Tabulate(r)); err != nil {
		return &exitError{exitEnvironment, fmt.Errorf("results: %w", err)}
	}
	doc := statusOf(dir, r)
	fmt.Fprintf(stdout, "%d of %s done; %s and %s came; the run %s\n", doc.Done, words.Count(doc.Trials, "trial"),
		words.Count(c.lines, "line")+" of the journal", words.Count(c.files, "file"), stateText(state))
	fmt.Fprintln(stdout, "tables:   "+filepath.Join(dir, results.ResultsDir)+string(os.PathSeparator))
	if len(c.odd) > 0 {
		for _, o := range c.odd {
			fmt.Fprintln(stderr, "not what the journal says: "+o)
		}
		return &exitError{exitEnvironment, fmt.Errorf("%s: %s did not come as the journal has them", dir, words.Count(len(c.odd), "file"))}
	}
	return nil
}

// stateText says how a detached run stands.
func stateText(s kubernetes.DetachedState) string {
	text := ""
	switch s.Phase {
	case kubernetes.DetachedNone:
		return "is not in the cluster any more: its Job is gone"
	case kubernetes.DetachedWaiting:
		text = "waits: " + s.Why
	case kubernetes.DetachedRunning:
		text = "goes on in pod " + s.Pod
	case kubernetes.DetachedEnded:
		switch text = "has ended"; s.Exit {
		case exitOK:
		case exitTrials:
			text += ": some trials have no result"
		default:
			text += ": " + s.Why
		}
	}
	if s.Again > 0 && s.Phase != kubernetes.DetachedEnded {
		text += fmt.Sprintf(" (its pod ended early %s)", words.Count(s.Again, "time"))
	}
	return text
}

// copying is a fetch under way.
type copying struct {
	dir     string
	mark    *detached
	cluster *kubernetes.Detached
	stderr  io.Writer

	lines, files int
	odd          []string
}

// patience is how long a fetch goes on trying while nothing comes.
const patience = 2 * time.Minute

// all brings what there is, and tells how the run stood before.
func (c *copying) all(ctx context.Context) (state kubernetes.DetachedState, err error) {
	began, pause := time.Now(), 500*time.Millisecond
	for {
		came := c.lines + c.files
		if state, err = c.ready(ctx); err == nil {
			err = c.once(ctx, state.Pod)
		}
		if err == nil || ctx.Err() != nil {
			return state, err
		}
		if c.lines+c.files > came {
			began, pause = time.Now(), 500*time.Millisecond
		}
		if !passing(err) || time.Since(began) > patience {
			return state, err
		}
		fmt.Fprintf(c.stderr, "%v; trying again\n", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return state, context.Cause(ctx)
		}
		pause = min(2*pause, 10*time.Second)
	}
}

// ready asks how the run stands. Where its pod is on its way it waits a little: through that is the
// shorter way, and on many clusters a volume is with one node only.
func (c *copying) ready(ctx context.Context) (kubernetes.DetachedState, error) {
	for began := time.Now(); ; {
		state, err := c.cluster.State(ctx)
		if err != nil || state.Phase != kubernetes.DetachedWaiting || time.Since(began) > 30*time.Second {
			return state, err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return state, context.Cause(ctx)
		}
	}
}

// passing reports whether a copy that broke off may go on.
func passing(err error) bool {
	var status *kubernetes.CommandError
	if errors.As(err, &status) { // 128 and a signal: the pod was ended, and another comes
		return status.Status > 128
	}
	return backends.ClassOf(err).Temporary() || errors.Is(err, io.ErrUnexpectedEOF)
}

// once copies through the pod of the run, or through one that is made for it.
func (c *copying) once(ctx context.Context, pod string) error {
	if pod != "" {
		return c.through(ctx, pod)
	}
	in, leave, err := c.cluster.Enter(ctx)
	if err == nil {
		err = c.through(ctx, in.Pod)
	}
	if leave != nil {
		err = errors.Join(err, leave(context.WithoutCancel(ctx)))
	}
	return err
}

// plan brings the plan, if the folder has none.
func (c *copying) plan(ctx context.Context, pod string) error {
	file := filepath.Join(c.dir, results.PlanFile)
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	var text bytes.Buffer
	if err := c.cluster.Exec(ctx, pod, nil, &text, "/bin/sh", "-c", `cat "$1"`, "dlx", onVolume(awayPlan)); err != nil {
		return err
	}
	if _, err := plan.Decode(text.Bytes()); err != nil {
		return fmt.Errorf("its plan: %w", err)
	}
	return renameio.WriteFile(file, text.Bytes(), 0o644)
}

func (c *copying) through(ctx context.Context, pod string) error {
	if err := c.plan(ctx, pod); err != nil {
		return err
	}
	file := filepath.Join(c.dir, results.JournalFile)
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	sum, err := prefix(file, info.Size())
	if err != nil {
		return err
	}
	u, err := newUnpacker(c.dir, info.Size())
	if err != nil {
		return err
	}
	defer u.journal.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := c.cluster.Exec(ctx, pod, nil, w, c.mark.Program, "pack", onVolume(awayFolder), "--from", strconv.FormatInt(info.Size(), 10), "--sum", sum)
		_ = w.CloseWithError(err)
		done <- err
	}()
	err = u.read(r)
	_ = r.CloseWithError(err)
	c.lines, c.files, c.odd = c.lines+u.lines, c.files+u.files, append(c.odd, u.odd...)
	if err != nil {
		cancel() // a stream that is of no use need not end by itself
	}
	if ended := <-done; err == nil || errors.Is(err, ended) {
		return ended
	}
	return err
}
