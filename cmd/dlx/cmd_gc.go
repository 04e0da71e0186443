package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor"
	"dlx.dev/dlx/spec"
	"dlx.dev/dlx/spec/diag"
	"dlx.dev/dlx/spec/words"
)

func newGC() *cobra.Command {
	var o gcOptions
	cmd := &cobra.Command{
		Use:   "gc [RUN-FOLDER]",
		Short: "Find and remove what runs left behind",
		Long: fmt.Sprintf(`gc asks the clouds for objects with the tags that dlx gives to all it makes
(servers, keypairs, server groups, allocations, clusters, namespaces and what is in
them), and removes those that a run left behind.

  dlx gc RUN-FOLDER             all of this run, in the clouds of its plan; refused while
                                another dlx runs in the folder. What was made on the
                                embedded sandbox is found by its folder alone
  dlx gc --testbed T --run ID   all of that run, without its folder
  dlx gc --testbed T            of all runs, what is past its deadline. Anything else is
                                listed with its deadline and left alone: another dlx may
                                be using it

A detached run is removed from its cluster, with its folder there, once it has ended and
dlx fetch has brought all of it; --force does not wait for either.

An object's deadline is written onto it when it is made: %d days later. A run that goes on
for longer uses machines that are past it: give gc that run's folder, or leave it be.

Exit codes: 0 nothing is left that should be gone, 2 command or testbed wrong, 3 a cloud
refused or cannot be reached, 5 something could not be released, 130 and 143 interrupted.`, int(executor.DefaultLease.Hours()/24)),
		Example: `  dlx gc --dry-run runs/quickstart
  dlx gc --testbed lab --study mystudy
  dlx gc --testbed lab.cue --run quickstart-0123456789`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.args, o.hasStudy = args, cmd.Flags().Changed("study")
			if err := o.check(); err != nil {
				return err
			}
			ctx, end := interruptible(cmd.Context())
			g, err := o.collection(ctx)
			if err == nil {
				err = g.collect(ctx)
			}
			if code := end(); code != 0 {
				err = &exitError{code, errors.New("interrupted: the same command again goes on")}
			}
			if g == nil {
				return err
			}
			return errors.Join(err, g.show(cmd.OutOrStdout(), cmd.ErrOrStderr(), o.output))
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.testbed, "testbed", "T", "", "where to look: a CUE file, or a `NAME` in testbeds/ of the study; with RUN-FOLDER in place of its plan's clouds")
	f.StringVar(&o.study, "study", ".", "the `FOLDER` in whose testbeds/ a NAME is looked for")
	f.StringVar(&o.run, "run", "", "the `ID` of a run, as dlx status shows it: all of it, whatever its deadline")
	f.BoolVar(&o.dry, "dry-run", false, "list only, remove nothing")
	f.BoolVar(&o.force, "force", false, "end a detached run that goes on, and remove one that was not fetched")
	f.StringVar(&o.output, "output", "text", "`FORM`: text or json")
	return cmd
}

// gcOptions are the words of the command line.
type gcOptions struct {
	args                        []string
	testbed, study, run, output string
	dry, hasStudy, force        bool
}

var runID = regexp.MustCompile(`^[A-Za-z0-9-]{1,32}$`) // see backends.Owner

func (o *gcOptions) check() error {
	switch {
	case len(o.args) == 0 && o.testbed == "":
		return usage(errors.New("where to look: give a run folder, or --testbed"))
	case len(o.args) > 0 && o.run != "":
		return usage(fmt.Errorf("--run: %s says which run it is: leave one of them out", o.args[0]))
	case o.force && len(o.args) == 0:
		return usage(errors.New("--force is about a detached run: give its run folder"))
	case o.hasStudy && o.testbed == "":
		return usage(errors.New("--study says where a testbed is looked for: give --testbed as well"))
	case o.run != "" && !runID.MatchString(o.run):
		return usage(fmt.Errorf("--run: %q is no run's ID: 1 to 32 letters, digits and '-', as dlx status shows it", o.run))
	}
	return oneOf("output", o.output, "text", "json")
}

// collection finds out where to look and for what.
func (o *gcOptions) collection(ctx context.Context) (*collection, error) {
	g := &collection{dry: o.dry, force: o.force, run: o.run, now: time.Now(), secret: make([]byte, 32)}
	rand.Read(g.secret) // never fails; nothing is derived from it, for nothing is made
	var err error
	if o.testbed != "" {
		if g.clouds, err = testbedClouds(ctx, o.testbed, o.study); err != nil {
			return nil, err
		}
		g.named = true
	}
	if len(o.args) > 0 {
		if err := g.takeFolder(ctx, o.args[0]); err != nil {
			return nil, err
		}
		return g, nil
	}
	return g, g.withoutFolder(o.testbed)
}

// testbedClouds are those of a testbed, which may be one of a study.
func testbedClouds(ctx context.Context, testbed, study string) ([]plan.Cloud, error) {
	tb, err := spec.LoadTestbed(ctx, testbed, study, spec.Options{})
	var mistakes diag.List
	if err := collect(&mistakes, err, testbedDir(testbed, study)); err != nil {
		return nil, err
	}
	if err := mistakes.Err(); err != nil {
		return nil, usage(err)
	}
	var out []plan.Cloud
	for _, c := range tb.Clouds {
		out = append(out, plan.Cloud{Name: c.Name, Backend: c.Backend, Config: c.Config})
	}
	return out, nil
}

// withoutFolder leaves out the clouds that only a run folder knows.
func (g *collection) withoutFolder(testbed string) error {
	var clouds []plan.Cloud
	for _, c := range g.clouds {
		if c.Backend == "sandbox" {
			g.notes = append(g.notes, fmt.Sprintf("cloud %s: what was made on the embedded sandbox is in the run folder: dlx gc RUN-FOLDER", c.Name))
			continue
		}
		clouds = append(clouds, c)
	}
	if g.clouds = clouds; len(clouds) == 0 {
		return usage(fmt.Errorf("testbed %s: all its clouds are embedded sandboxes, and what was made there is in the run folder: dlx gc RUN-FOLDER", testbed))
	}
	return nil
}

// interruptible is a context that a signal ends; end tells the exit code of the signal that came, or 0.
func interruptible(parent context.Context) (ctx context.Context, end func() int) {
	ctx, cancel := context.WithCancel(parent)
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM)
	code := make(chan int, 1)
	go func() {
		select {
		case s := <-ch:
			if s == syscall.SIGTERM {
				code <- exitTerminated
			} else {
				code <- exitInterrupted
			}
			cancel()
		case <-ctx.Done():
			code <- 0
		}
	}()
	return ctx, func() int {
		signal.Stop(ch)
		cancel()
		return <-code
	}
}

// show writes what was found and what became of it.
func (g *collection) show(stdout, stderr io.Writer, form string) error {
	d := g.doc()
	if form == "json" {
		return writeJSON(stdout, d)
	}
	for _, n := range d.Notes {
		fmt.Fprintln(stderr, "note: "+n)
	}
	tw := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	for _, x := range d.Objects {
		fleet := x.Fleet
		if fleet == "" {
			fleet = "-"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", x.Cloud, x.Kind, x.Name, x.Run, fleet, x.words())
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(stdout, d.summary())
	return err
}

// gcDoc is the documented form of gc --output json. Fields are only ever added.
type gcDoc struct {
	Format   int       `json:"format"`
	DryRun   bool      `json:"dryRun"`
	Run      string    `json:"run,omitempty"` // the one that was asked for
	Released int       `json:"released"`
	Kept     int       `json:"kept"`
	Left     int       `json:"left"`
	Objects  []gcThing `json:"objects"`
	Refused  []string  `json:"refused"` // clouds that could not be asked, with the cause
	Notes    []string  `json:"notes,omitempty"`
}

// What became of an object.
const (
	gcReleased = "released"
	gcListed   = "listed" // it would be released
	gcKept     = "kept"   // its deadline has not passed
	gcLeft     = "left"   // it could not be released
)

type gcThing struct {
	Cloud string     `json:"cloud"`
	Kind  string     `json:"kind"`
	Name  string     `json:"name"`
	ID    string     `json:"id,omitempty"`
	Run   string     `json:"run"`
	Fleet string     `json:"fleet,omitempty"`
	Until *time.Time `json:"until,omitempty"`
	Did   string     `json:"did"` // released, listed, kept or left
	Why   string     `json:"why,omitempty"`
}

func (x *gcThing) words() string {
	switch {
	case x.Did == gcListed:
		return "would be released"
	case x.Why != "":
		return x.Did + ": " + x.Why
	case x.Did == gcKept:
		return "kept until " + x.Until.Format(time.RFC3339)
	}
	return x.Did
}

func (d *gcDoc) summary() string {
	if n := len(d.Refused); n > 0 {
		return d.found() + ", and " + words.Count(n, "cloud") + " could not be asked"
	}
	return d.found()
}

func (d *gcDoc) found() string {
	if len(d.Objects) == 0 && len(d.Refused) > 0 {
		return "nothing was found"
	}
	if len(d.Objects) == 0 {
		if d.Run != "" {
			return "nothing is left of run " + d.Run
		}
		return "nothing is left behind"
	}
	verb, n := "released", d.Released
	if d.DryRun {
		verb, n = "would be released", len(d.Objects)-d.Kept
	}
	text := words.Count(n, "object") + " " + verb
	if d.Kept > 0 {
		text += fmt.Sprintf(", %d kept until their deadline", d.Kept)
	}
	if d.Left > 0 {
		text += fmt.Sprintf(", %d left", d.Left)
	}
	return text
}
