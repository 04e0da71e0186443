package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor"
	"dlx.dev/dlx/results"
	"dlx.dev/dlx/results/export"
	"dlx.dev/dlx/spec/words"
)

func newRun() *cobra.Command {
	var s selection
	var o runOptions
	var away detachOptions
	cmd := &cobra.Command{
		Use:   "run [STUDY|plan.json]",
		Short: "Run a study, or continue a run",
		Long: `Run provisions machines, runs every trial that has no result yet, releases the
machines, and writes tables and a workbook. The same command again continues a
run that was cut off, and tries failed trials once more.

Interrupt once (Ctrl-C): trials that run are finished, no new ones are started,
everything is released. Interrupt twice: dlx stops now; machines and the
processes on them stay, and the same command again takes them up.

With --detach the run goes on inside the cluster of the testbed, a Kubernetes that
stands already: dlx, the plan and the run folder are put on a volume there, a Job
runs dlx, and this command ends. dlx status RUN asks how it is, dlx fetch RUN brings
home what there is, the same command again finds the run or, when it has ended with
trials that have no result, continues it there; dlx gc RUN removes it.`,
		Example: `  dlx run mystudy                       on the sandbox
  dlx run mystudy --testbed lab --only model=alexnet,orchestration=vm --repeats 1
  dlx run mystudy --testbed cluster --detach`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := errors.Join(oneOf("output", o.output, "text", "json"), oneOf("progress", o.progress, "auto", "bar", "plain", "none")); err != nil {
				return err
			}
			if o.jobs < 0 {
				return usage(fmt.Errorf("--jobs: %d is negative", o.jobs))
			}
			if err := away.check(cmd.Flags(), &s); err != nil {
				return err
			}
			p, err := s.compile(cmd.Context(), studyArg(args))
			if err != nil {
				return err
			}
			if away.detach {
				return away.run(cmd.Context(), p, &s, studyArg(args), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
			}
			return runPlan(cmd.Context(), p, s.runDir(p), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	s.flags(cmd.Flags())
	f := cmd.Flags()
	f.StringVar(&o.output, "output", "text", "`FORM` of the final summary: text or json")
	f.StringVar(&o.progress, "progress", "auto", "`HOW` to show progress on stderr: auto, bar, plain or none")
	f.IntVarP(&o.jobs, "jobs", "j", 0, "most trials at once (default: as many as there are fleets)")
	f.BoolVar(&o.failFast, "fail-fast", false, "after the first failed trial start no more")
	f.StringVar(&o.inside, "inside", "", "this is the pod of the detached run `ID`")
	_ = f.MarkHidden("inside") // fails for a flag that is not there
	away.flags(f)
	return cmd
}

type runOptions struct {
	output, progress string
	jobs             int
	failFast         bool
	inside           string // ID of the detached run that this process is, in a pod; "": it is none
}

// runPlan executes p in a run folder and reports.
func runPlan(ctx context.Context, p *plan.Plan, dir string, o runOptions, stdout, stderr io.Writer) error {
	f, err := openFolder(dir, p, o.inside)
	if err != nil {
		return err
	}
	defer f.close()
	show := newProgress(stderr, o.progress, p, f.history)
	sig := watchSignals(ctx, show, o.inside != "")
	defer sig.stop()

	backs, err := openBackends(sig.ctx, p, f, o.inside != "") //nolint:contextcheck // derived from ctx, canceled by signals
	if err != nil {
		show.finish()
		return &exitError{exitEnvironment, err}
	}
	out, runErr := executor.Execute(sig.ctx, p, executor.Options{ //nolint:contextcheck // as above
		Run: f.runID, Dir: dir, Version: version(), Backends: backs.byCloud, Journal: f.journal, History: f.history,
		Parse: parseTrial, Steady: steady, Files: ownFiles(), Jobs: o.jobs, FailFast: o.failFast, Drain: sig.drain, Progress: show.event,
	})
	show.finish()
	closeErr := backs.close(context.WithoutCancel(ctx))
	if out == nil {
		return &exitError{exitEnvironment, runErr}
	}
	f.tidy(len(out.Left))
	r, err := results.FromHistory(p, f.history)
	if err != nil {
		return err
	}
	sum := summarize(r.Plan, dir, out)
	if sum.Files, err = export.All(filepath.Join(dir, results.ResultsDir), results.Tabulate(r)); err != nil {
		return &exitError{exitEnvironment, fmt.Errorf("results: %w", err)}
	}
	if o.output == "json" {
		err = sum.json(stdout)
	} else {
		err = sum.text(stdout)
	}
	if err != nil {
		return err
	}
	return sum.verdict(out, sig, runErr, closeErr)
}

// verdict turns what happened into the exit code, and into the line that says why.
func (s *runSummary) verdict(out *executor.Outcome, sig *signals, runErr, closeErr error) error {
	again := fmt.Sprintf("the same command again continues (run folder %s)", s.Dir)
	switch n := sig.received(); {
	case n > 0 && runErr != nil:
		return &exitError{sig.code(), fmt.Errorf("stopped now: machines and their processes stay; %s", again)}
	case len(out.Left) > 0:
		return &exitError{exitLeft, fmt.Errorf("%d objects could not be released: %s; %s", len(out.Left), s.leftText(), again)}
	case runErr != nil:
		return &exitError{exitEnvironment, runErr}
	case closeErr != nil:
		return &exitError{exitEnvironment, closeErr}
	case n > 0:
		return &exitError{sig.code(), fmt.Errorf("interrupted: everything is released; %s", again)}
	case s.refused:
		return &exitError{exitEnvironment, errors.New("the environment refused; " + again)}
	case out.Failed+out.Skipped+out.Canceled > 0:
		return &exitError{exitTrials, fmt.Errorf("%d of %d trials have no result", out.Trials-out.Done, out.Trials)}
	default:
		return nil
	}
}

// runSummary is the documented form of run --output json. Fields are only ever added.
type runSummary struct {
	Format   int          `json:"format"`
	Study    string       `json:"study"`
	Dir      string       `json:"dir"`
	Caveat   string       `json:"caveat,omitempty"`
	Trials   int          `json:"trials"`
	Done     int          `json:"done"`
	Reused   int          `json:"reused"`
	Failed   int          `json:"failed"`
	Skipped  int          `json:"skipped"`
	Canceled int          `json:"canceled"`
	Failures []failureDoc `json:"failures"`
	Left     []string     `json:"left"`
	Files    []string     `json:"files"`
	refused  bool
}

type failureDoc struct {
	Step  string `json:"step"`
	Class string `json:"class"`
	Error string `json:"error"`
	Place string `json:"place,omitempty"`
}

func summarize(p *plan.Plan, dir string, out *executor.Outcome) *runSummary {
	s := &runSummary{
		Format: 1, Study: p.Study, Dir: dir, Caveat: string(p.Caveat), Trials: out.Trials, Done: out.Done, Reused: out.Reused,
		Failed: out.Failed, Skipped: out.Skipped, Canceled: out.Canceled, Failures: []failureDoc{}, Left: []string{}, Files: []string{},
	}
	for i := range out.Steps {
		st := &out.Steps[i]
		if st.Err == nil || st.Class == "canceled" {
			continue
		}
		d := failureDoc{Step: p.StepID(i), Class: string(st.Class), Error: st.Err.Error()}
		if pos, ok := p.StepSource(i); ok {
			d.Place = pos.String()
		}
		s.Failures = append(s.Failures, d)
		s.refused = s.refused || p.Steps[i].Kind == plan.Provision
	}
	for _, o := range out.Left {
		s.Left = append(s.Left, o.Object.Kind+" "+o.Object.Name)
	}
	return s
}

func (s *runSummary) leftText() string {
	const most = 5
	text := ""
	for i, l := range s.Left {
		if i == most {
			return text + fmt.Sprintf(" and %d more", len(s.Left)-most)
		}
		if i > 0 {
			text += ", "
		}
		text += l
	}
	return text
}

func (s *runSummary) json(w io.Writer) error {
	return writeJSON(w, s)
}

// maxFailures bounds how many failures the text lists; all are in the workbook's notes.
const maxFailures = 20

func (s *runSummary) text(w io.Writer) error {
	for i, f := range s.Failures {
		if i == maxFailures {
			fmt.Fprintf(w, "and %d more failures\n", len(s.Failures)-maxFailures)
			break
		}
		if f.Place != "" {
			fmt.Fprintf(w, "%s: ", f.Place)
		}
		fmt.Fprintf(w, "%s: %s: %s\n", f.Step, f.Class, f.Error)
	}
	fmt.Fprintf(w, "%s: %d done", words.Count(s.Trials, "trial"), s.Done)
	for _, x := range []struct {
		n    int
		what string
	}{{s.Reused, "of them before"}, {s.Failed, "failed"}, {s.Skipped, "skipped"}, {s.Canceled, "canceled"}} {
		if x.n > 0 {
			fmt.Fprintf(w, ", %d %s", x.n, x.what)
		}
	}
	fmt.Fprintln(w)
	if c := caveatText(plan.Caveat(s.Caveat)); c != "" {
		fmt.Fprintln(w, "note: "+c)
	}
	for _, f := range s.Files {
		if filepath.Ext(f) == ".xlsx" {
			fmt.Fprintln(w, "workbook: "+f)
		}
	}
	_, err := fmt.Fprintln(w, "tables:   "+filepath.Join(s.Dir, results.ResultsDir)+string(os.PathSeparator))
	return err
}
