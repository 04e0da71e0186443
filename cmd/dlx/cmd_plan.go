package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/spec/words"
)

func newPlan() *cobra.Command {
	var s selection
	var out, save string
	var check bool
	cmd := &cobra.Command{
		Use:   "plan [STUDY|plan.json]",
		Short: "Show what a run would do, and why",
		Long: `plan compiles a study and its testbed and shows cells, fleets, and for each cell
whether it would run, resume, be reused, or run again and what changed. No cloud is asked.

With --check the clouds of the testbed are asked as well: whether they have the flavors,
images, networks, templates, nodes and rights that the plan needs, and whether what is up at
once fits into quotas and limits; what a run that was cut off, or is detached, has there
already is not counted twice. Nothing is made. What does not fit is shown with its line in
the testbed.

Exit codes: 0 ok (warnings included), 2 command, study or testbed wrong, 3 with --check:
something does not fit, or a cloud cannot be asked.`,
		Example: `  dlx plan                              the study in this folder, on the sandbox
  dlx plan mystudy --testbed lab        on testbeds/lab.cue of the study
  dlx plan --only model=alexnet -o p.json && dlx run p.json
  dlx plan mystudy --testbed lab --check  whether lab has what it takes
  dlx plan --output mermaid             the steps as a picture`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf("output", out, "text", "json", "mermaid"); err != nil {
				return err
			}
			if check && out == "mermaid" {
				return usage(errors.New("--check: a picture has no place for it: leave --output mermaid out"))
			}
			collectLess()
			p, err := s.compile(cmd.Context(), studyArg(args))
			if err != nil {
				return err
			}
			if save != "" {
				b, err := p.Encode()
				if err != nil {
					return err
				}
				if err := renameio.WriteFile(save, b, 0o644); err != nil {
					return usage(err)
				}
			}
			w := cmd.OutOrStdout()
			if out == "mermaid" {
				return p.Mermaid(w, nil)
			}
			dir := s.runDir(p)
			ds, err := decide(p, dir)
			if err != nil {
				return usage(err)
			}
			if out == "text" {
				planText(w, p, ds, dir)
			}
			var c *checked
			if check {
				run, err := unreleased(dir)
				if err != nil {
					return usage(err)
				}
				if c, err = s.checkLive(cmd.Context(), p, studyArg(args), run); err != nil {
					return err
				}
			}
			if out == "json" {
				if err := planJSON(w, p, ds, c); err != nil {
					return err
				}
			} else if c != nil {
				fmt.Fprintln(w)
				c.show(w, cmd.ErrOrStderr())
			}
			return c.err()
		},
	}
	s.flags(cmd.Flags())
	cmd.Flags().StringVar(&out, "output", "text", "`FORM`: text, json or mermaid")
	cmd.Flags().BoolVar(&check, "check", false, "ask the clouds whether they have what the plan needs; exit 3 if not")
	cmd.Flags().StringVarP(&save, "out", "o", "", "also save the plan to `FILE`, for dlx run FILE")
	return cmd
}

func studyArg(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return "."
}

// planDoc is the documented form of --output json. Fields are only ever added.
type planDoc struct {
	Format   int             `json:"format"`
	Study    string          `json:"study"`
	Testbed  string          `json:"testbed"`
	Digest   string          `json:"digest"`
	Caveat   string          `json:"caveat,omitempty"`
	Counts   plan.Counts     `json:"counts"`
	Fleets   []fleetDoc      `json:"fleets"`
	Cells    []cellDoc       `json:"cells"`
	Excluded []plan.Excluded `json:"excluded,omitempty"`
	Warnings []string        `json:"warnings,omitempty"`
	Check    *checkDoc       `json:"check,omitempty"` // with --check
}

type fleetDoc struct {
	Name          string        `json:"name"`
	Orchestration string        `json:"orchestration"`
	Machines      int           `json:"machines"`
	Hosts         string        `json:"hosts,omitempty"` // how they stand on hosts: "same" or "different"
	Uses          []plan.Amount `json:"uses,omitempty"`
	Trials        int           `json:"trials"`
}

type cellDoc struct {
	Name     string            `json:"name"`
	Block    string            `json:"block"`
	Axes     map[string]string `json:"axes"`
	Key      string            `json:"key"`
	Fleet    string            `json:"fleet"`
	Decision string            `json:"decision"`
	Reason   string            `json:"reason"`
	Trials   int               `json:"trials"` // that will run
}

func planJSON(w io.Writer, p *plan.Plan, ds []decision, c *checked) error {
	digest, err := p.Digest()
	if err != nil {
		return err
	}
	doc := planDoc{
		Format: 1, Study: p.Study, Testbed: p.Testbed, Digest: digest, Caveat: string(p.Caveat), Counts: p.Counts(),
		Excluded: p.Excluded, Warnings: p.Warnings, Fleets: fleetDocs(p), Cells: []cellDoc{}, Check: c.doc(),
	}
	for i := range p.Cells {
		c := &p.Cells[i]
		axes := map[string]string{}
		for _, a := range c.Axes {
			axes[a.Name] = a.Value
		}
		doc.Cells = append(doc.Cells, cellDoc{c.Name, c.Block, axes, c.Key, p.Fleets[c.Fleet].Name, ds[i].what, ds[i].reason, ds[i].left})
	}
	return writeJSON(w, doc)
}

func fleetDocs(p *plan.Plan) []fleetDoc {
	out := make([]fleetDoc, len(p.Fleets))
	for i, f := range p.Fleets {
		out[i] = fleetDoc{Name: f.Name, Hosts: f.Hosts, Orchestration: f.Orchestration, Machines: len(f.Machines), Uses: f.Uses}
	}
	for i := range p.Steps {
		if p.Steps[i].Kind == plan.Trial {
			out[p.Steps[i].Fleet].Trials++
		}
	}
	return out
}

// planText is the summary for people.
func planText(w io.Writer, p *plan.Plan, ds []decision, dir string) {
	n := p.Counts()
	fmt.Fprintf(w, "study %s on testbed %s: %s, %s on %s, %s\n", p.Study, p.Testbed,
		words.Count(n.Cells, "cell"), words.Count(n.Trials, "trial"), words.Count(n.Fleets, "fleet"), words.Count(n.Steps, "step"))
	if c := caveatText(p.Caveat); c != "" {
		fmt.Fprintln(w, "note: "+c)
	}
	fmt.Fprintln(w, "\nfleets")
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range fleetDocs(p) {
		uses := make([]string, len(f.Uses))
		for i, u := range f.Uses {
			uses[i] = fmt.Sprintf("%s %d", u.Resource, u.Units)
		}
		machines := words.Count(f.Machines, "machine") + map[string]string{"same": " on one host", "different": " on different hosts"}[f.Hosts]
		fmt.Fprintf(tw, "  %s\t%s\t%s\t%s\n", f.Name, machines, words.Count(f.Trials, "trial"), strings.Join(uses, ", "))
	}
	tw.Flush()
	fmt.Fprintf(w, "\ncells, judged against %s\n", dir)
	tw = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	left := 0
	for i := range p.Cells {
		fmt.Fprintf(tw, "  %s\t%d\t%s\t%s\n", ds[i].what, ds[i].left, p.Cells[i].Name, ds[i].reason)
		left += ds[i].left
	}
	tw.Flush()
	fmt.Fprintf(w, "\n%s to run\n", words.Count(left, "trial"))
	for _, x := range p.Excluded {
		fmt.Fprintf(w, "excluded: %s: %s\n", x.Cell, x.Reason)
	}
	for _, x := range p.Warnings {
		fmt.Fprintln(w, "warning: "+x)
	}
}

// caveatText says in words why numbers are not what they look like.
func caveatText(c plan.Caveat) string {
	switch c {
	case plan.Sandbox:
		return "all machines are processes of one computer: a difference between orchestrations means nothing"
	case plan.Simulated:
		return "SIMULATED: the durations come from a model"
	default:
		return ""
	}
}
