package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
	"dlx.dev/dlx/results"
)

// Decisions: what a run in a folder will do with a cell.
const (
	decideRun    = "run"    // nothing of it is there
	decideResume = "resume" // some repeats are there
	decideReuse  = "reuse"  // all are there
	decideRerun  = "rerun"  // what is there was measured under other conditions
)

// A decision is one, with its reason.
type decision struct {
	what   string
	reason string
	left   int // trials that will run
}

// decide judges every cell of p against what the run folder holds. A folder that does not exist
// holds nothing.
func decide(p *plan.Plan, dir string) ([]decision, error) {
	h, old, err := readFolder(dir)
	if err != nil {
		return nil, err
	}
	out := make([]decision, len(p.Cells))
	for i := range p.Cells {
		out[i] = decideCell(p, i, h, old)
	}
	return out, nil
}

// readFolder reads the journal and the last plan of a run folder; both are nil where missing.
func readFolder(dir string) (*journal.History, *plan.Plan, error) {
	f, err := os.Open(filepath.Join(dir, results.JournalFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	h := journal.NewHistory()
	if _, err := journal.Read(f, h.Fold); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", filepath.Join(dir, results.JournalFile), err)
	}
	b, err := os.ReadFile(filepath.Join(dir, results.PlanFile))
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	old, err := plan.Decode(b)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", filepath.Join(dir, results.PlanFile), err)
	}
	return h, old, nil
}

func decideCell(p *plan.Plan, i int, h *journal.History, old *plan.Plan) decision {
	c := &p.Cells[i]
	if h == nil {
		return decision{decideRun, "nothing was measured yet", p.Repeats}
	}
	done := 0
	for r := 1; r <= p.Repeats; r++ {
		if _, ok := h.Observed[journal.TrialKey{Key: c.Key, Repeat: r}]; ok {
			done++
		}
	}
	switch {
	case done == p.Repeats:
		return decision{decideReuse, fmt.Sprintf("all %d trials are there", done), 0}
	case done > 0:
		return decision{decideResume, fmt.Sprintf("%d of %d trials are there", done, p.Repeats), p.Repeats - done}
	}
	if old != nil {
		for k := range old.Cells {
			o := &old.Cells[k]
			if o.Name != c.Name || o.Key == c.Key || !anyObserved(h, o.Key) {
				continue
			}
			changes := plan.DiffComponents(old.Components(o), p.Components(c))
			words := make([]string, len(changes))
			for n, ch := range changes {
				words[n] = ch.String()
			}
			return decision{decideRerun, strings.Join(words, "; "), p.Repeats}
		}
	}
	for r := 1; r <= p.Repeats; r++ {
		if s := h.Steps["trial/"+plan.TrialID(c.Name, r)]; s != nil && s.Last.State == journal.Failed {
			return decision{decideRun, "failed before: " + string(s.Last.Class) + ": " + s.Last.Error, p.Repeats}
		}
	}
	return decision{decideRun, "nothing was measured yet", p.Repeats}
}

func anyObserved(h *journal.History, key string) bool {
	for k := range h.Observed {
		if k.Key == key {
			return true
		}
	}
	return false
}
