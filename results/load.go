package results

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
)

// Names of files in a run folder.
const (
	PlanFile    = "plan.json"
	JournalFile = "journal.jsonl"
	ResultsDir  = "results"
)

// Load reads a run folder: its plan and its journal, nothing else. A run that is under way or was
// cut off can be read as well.
func Load(dir string) (*Run, error) {
	b, err := os.ReadFile(filepath.Join(dir, PlanFile))
	if err != nil {
		return nil, fmt.Errorf("%s: not a run folder: %w", dir, err)
	}
	p, err := plan.Decode(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, PlanFile), err)
	}
	f, err := os.Open(filepath.Join(dir, JournalFile))
	if err != nil {
		return nil, fmt.Errorf("%s: not a run folder: %w", dir, err)
	}
	defer f.Close()
	h := journal.NewHistory()
	if _, err := journal.Read(f, h.Fold); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, JournalFile), err)
	}
	return FromHistory(p, h)
}

// FromHistory joins a plan with what its journal says of each of its trials.
func FromHistory(p *plan.Plan, h *journal.History) (*Run, error) {
	digest, err := p.Digest()
	if err != nil {
		return nil, err
	}
	r := &Run{ID: h.Run, Plan: p, Digest: digest, Version: h.Version, Started: h.First, Ended: h.Last}
	for _, o := range h.Owned() {
		r.Left = append(r.Left, o.Object.Kind+" "+o.Object.Name)
	}
	r.Trials = make([]Trial, 0, len(p.Cells)*p.Repeats)
	for c := range p.Cells {
		for n := 1; n <= p.Repeats; n++ {
			r.Trials = append(r.Trials, trialOf(p, h, c, n))
		}
	}
	r.mark()
	return r, nil
}

// mark adds the caveat that a plan could not know: its cloud was a sandbox, reached as any other
// cloud is. The digest stays that of the plan as it was.
func (r *Run) mark() {
	for i := range r.Trials {
		for _, m := range r.Trials[i].Machines {
			if r.Plan.Caveat == plan.NoCaveat && backends.OnSandbox(m.Facts) {
				marked := *r.Plan
				marked.Caveat, r.Plan = plan.Sandbox, &marked
				return
			}
		}
	}
}

func trialOf(p *plan.Plan, h *journal.History, c, n int) Trial {
	t := Trial{Cell: c, Repeat: n}
	if s := h.Steps["trial/"+plan.TrialID(p.Cells[c].Name, n)]; s != nil {
		t.Attempts = s.Attempts
		t.State, t.Class, t.Error = s.Last.State, string(s.Last.Class), s.Last.Error
		t.Procs, t.Machines, t.Spans = s.Last.Procs, s.Last.Machines, s.Last.Spans
	}
	ev, ok := h.Observed[journal.TrialKey{Key: p.Cells[c].Key, Repeat: n}]
	if !ok {
		if t.State == journal.Done { // of a cell that was another one then
			t = Trial{Cell: c, Repeat: n}
		}
		return t
	}
	t.State, t.Class, t.Error = journal.Done, "", ""
	t.Warnings, t.Procs, t.Machines = slices.Clone(ev.Warnings), ev.Procs, ev.Machines
	for _, o := range ev.Observations {
		switch _, twice := t.Value(o.Metric); {
		case math.IsNaN(o.Value) || math.IsInf(o.Value, 0):
			t.Warnings = append(t.Warnings, o.Metric+" is no finite number and does not count")
		case twice:
			t.Warnings = append(t.Warnings, o.Metric+" was observed more than once: the first counts")
		default:
			t.Obs = append(t.Obs, o)
		}
	}
	return t
}

// Trial returns the trial of a cell and repeat.
func (r *Run) Trial(cell, repeat int) *Trial { return &r.Trials[cell*r.Plan.Repeats+repeat-1] }

// Value returns a metric of a trial.
func (t *Trial) Value(metric string) (journal.Observation, bool) {
	for _, o := range t.Obs {
		if o.Metric == metric {
			return o, true
		}
	}
	return journal.Observation{}, false
}
