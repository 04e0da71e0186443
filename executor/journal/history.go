package journal

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"dlx.dev/dlx/backends"
)

// A TrialKey identifies what was measured, whatever the plan of the day calls it.
type TrialKey struct {
	Key    string // plan.Cell.Key
	Repeat int
}

// A StepRecord is what became of a step over all attempts.
type StepRecord struct {
	Attempts int   // the number of the last attempt that was started
	Open     bool  // that attempt has not ended: its process may still run
	Last     Event // the last Ended event
}

// An Owned object is one that the ledger does not know to be gone.
type Owned struct {
	Owner  backends.Owner
	Object backends.Object
	Cloud  string // plan.Cloud.ID; empty: the journal does not say
	Made   bool   // the cloud has confirmed it
}

// A History is a journal folded: what a run that goes on has to know, and what a report is made
// of. It is not for concurrent use.
type History struct {
	Run      string // ID; empty for a new journal
	Plan     string // digest of the last plan
	Version  string // of the last dlx
	Closed   State  // how the last process ended the run; empty if it did not
	Events   int
	First    time.Time
	Last     time.Time
	Steps    map[string]*StepRecord
	Observed map[TrialKey]Event // the Observed event of every trial that counts
	owned    map[ownedKey]*Owned
}

type ownedKey struct {
	owner             backends.Owner
	kind, name, cloud string
}

// NewHistory returns an empty history; hand its Fold to [Open].
func NewHistory() *History {
	return &History{
		Steps: map[string]*StepRecord{}, Observed: map[TrialKey]Event{}, owned: map[ownedKey]*Owned{},
	}
}

// Fold takes in the next event. It never fails; the error is there to fit [Open].
func (h *History) Fold(ev Event) error {
	h.Events++
	if h.First.IsZero() {
		h.First = ev.Time
	}
	h.Last = ev.Time
	switch ev.Kind {
	case Opened:
		h.Run, h.Plan, h.Version, h.Closed = ev.Run, ev.Plan, ev.Version, ""
	case Started:
		s := h.step(ev.Step)
		s.Attempts, s.Open = max(s.Attempts, ev.Attempt), true
	case Ended:
		s := h.step(ev.Step)
		s.Open, s.Last = false, ev
	case Observed:
		h.Observed[TrialKey{ev.Key, ev.Repeat}] = ev
	case Intend, Made, Gone:
		h.ledger(ev)
	case Closed:
		h.Closed = ev.State
	case Note:
	}
	return nil
}

func (h *History) step(id string) *StepRecord {
	s := h.Steps[id]
	if s == nil {
		s = &StepRecord{}
		h.Steps[id] = s
	}
	return s
}

func (h *History) ledger(ev Event) {
	if ev.Owner == nil || ev.Object == nil {
		return
	}
	k := ownedKey{*ev.Owner, ev.Object.Kind, ev.Object.Name, ev.Cloud}
	switch {
	case ev.Kind != Gone:
		h.owned[k] = &Owned{Owner: *ev.Owner, Object: *ev.Object, Cloud: ev.Cloud, Made: ev.Kind == Made}
	case ev.Cloud == "":
		maps.DeleteFunc(h.owned, func(o ownedKey, _ *Owned) bool { return o.owner == k.owner && o.kind == k.kind && o.name == k.name })
	default:
		delete(h.owned, k)
		k.cloud = "" // noted by a dlx that did not say
		delete(h.owned, k)
	}
}

// Owned lists the objects that may still exist, by fleet, kind and name.
func (h *History) Owned() []Owned {
	out := make([]Owned, 0, len(h.owned))
	for _, o := range h.owned {
		out = append(out, *o)
	}
	slices.SortFunc(out, func(a, b Owned) int {
		return cmp.Or(strings.Compare(a.Owner.Fleet, b.Owner.Fleet), strings.Compare(a.Object.Kind, b.Object.Kind),
			strings.Compare(a.Object.Name, b.Object.Name), strings.Compare(a.Owner.Run, b.Owner.Run), strings.Compare(a.Cloud, b.Cloud))
	})
	return out
}
