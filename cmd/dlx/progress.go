package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
)

// progress shows on stderr how a run goes: a bar on a terminal, a line for each thing that ended
// otherwise. event is called from one goroutine; say from any.
type progress struct {
	w     io.Writer
	plain bool
	none  bool
	begun time.Time
	total int // trials of the plan

	mu     sync.Mutex
	done   int // trials that ended, also in earlier processes
	now    int // of them in this process
	failed int
	active map[string]string // fleet -> what it is at
	order  []string
	byStep map[string]string // step ID -> fleet
	bars   *mpb.Progress
	bar    *mpb.Bar
}

func newProgress(w io.Writer, how string, p *plan.Plan, h *journal.History) *progress {
	s := &progress{w: w, begun: time.Now(), total: p.Counts().Trials, active: map[string]string{}, byStep: map[string]string{}}
	for i := range p.Steps {
		s.byStep[p.StepID(i)] = p.Fleets[p.Steps[i].Fleet].Name
		if st := &p.Steps[i]; st.Kind == plan.Trial {
			if _, ok := h.Observed[journal.TrialKey{Key: p.Cells[st.Cell].Key, Repeat: int(st.Repeat)}]; ok {
				s.done++
			}
		}
	}
	for _, f := range p.Fleets {
		s.order = append(s.order, f.Name)
	}
	switch how {
	case "none":
		s.none = true
	case "plain":
		s.plain = true
	case "auto":
		f, ok := w.(*os.File)
		s.plain = !ok || !term.IsTerminal(int(f.Fd())) || os.Getenv("TERM") == "dumb"
	}
	if !s.plain && !s.none {
		s.startBar()
	} else if s.done > 0 {
		s.line(fmt.Sprintf("continuing: %d of %d trials are done", s.done, s.total))
	}
	return s
}

func (s *progress) startBar() {
	s.bars = mpb.New(mpb.WithOutput(s.w), mpb.WithAutoRefresh(), mpb.WithRefreshRate(200*time.Millisecond))
	s.bar = s.bars.AddBar(int64(s.total),
		mpb.PrependDecorators(decor.Any(func(decor.Statistics) string {
			s.mu.Lock()
			defer s.mu.Unlock()
			text := fmt.Sprintf("%d/%d trials ", s.done, s.total)
			if s.failed > 0 {
				text += fmt.Sprintf("(%d failed attempts) ", s.failed)
			}
			return text
		})),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string {
			s.mu.Lock()
			defer s.mu.Unlock()
			return " " + s.eta() + " " + s.activity()
		})),
	)
	s.bar.SetCurrent(int64(s.done))
}

// eta tells the time left at the rate of this process so far; with the lock held.
func (s *progress) eta() string {
	if s.now == 0 || s.done >= s.total {
		return time.Since(s.begun).Round(time.Second).String()
	}
	left := time.Since(s.begun) / time.Duration(s.now) * time.Duration(s.total-s.done)
	return "about " + left.Round(time.Second).String() + " left"
}

// activity tells what the fleets are at; with the lock held.
func (s *progress) activity() string {
	const most = 3
	var parts []string
	for _, f := range s.order {
		if a := s.active[f]; a != "" {
			parts = append(parts, a)
		}
	}
	if len(parts) > most {
		parts = append(parts[:most], fmt.Sprintf("+%d", len(parts)-most))
	}
	return strings.Join(parts, ", ")
}

// event takes note of an event of the loop.
func (s *progress) event(ev journal.Event) {
	s.mu.Lock()
	fleet, trial := s.byStep[ev.Step], strings.HasPrefix(ev.Step, "trial/")
	over := false
	switch ev.Kind {
	case journal.Started:
		kind, _, _ := strings.Cut(ev.Step, "/")
		s.active[fleet] = fleet + " " + kind // a trial's name would leave no room for the bar
	case journal.Ended:
		delete(s.active, fleet)
		if over = trial && ev.State == journal.Done; over {
			s.done++
			s.now++
		} else if trial && ev.State == journal.Failed {
			s.failed++
		}
	default:
	}
	eta := s.eta()
	done := s.done
	s.mu.Unlock()
	if over && s.bar != nil {
		s.bar.Increment()
	}
	switch {
	case ev.Kind == journal.Ended && ev.State != journal.Done:
		s.say(fmt.Sprintf("%s %s (attempt %d): %s: %s", ev.Step, ev.State, ev.Attempt, ev.Class, ev.Error))
	case ev.Kind == journal.Ended && trial:
		s.detail(fmt.Sprintf("%s done, %d of %d, %s", ev.Step, done, s.total, eta))
	case ev.Kind == journal.Ended:
		s.detail(ev.Step + " done")
	case ev.Kind == journal.Started && !trial:
		s.detail(ev.Step + " ...")
	}
}

// say shows a line whatever the mode, but for none.
func (s *progress) say(text string) {
	switch {
	case s.none:
	case s.bars != nil:
		fmt.Fprintln(s.bars, text)
	default:
		s.line(text)
	}
}

// detail shows a line where no bar tells the same.
func (s *progress) detail(text string) {
	if s.plain {
		s.line(text)
	}
}

func (s *progress) line(text string) {
	if !s.none {
		fmt.Fprintln(s.w, time.Now().UTC().Format(time.RFC3339), text)
	}
}

// finish takes the bar down.
func (s *progress) finish() {
	if s.bars == nil {
		return
	}
	s.bar.Abort(false)
	s.bars.Wait()
	s.bars = nil
}
