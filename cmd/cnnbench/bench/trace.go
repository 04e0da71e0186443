package bench

import (
	"encoding/json"
	"os"
	"sync"
	"time"
)

// A trace is what the devices did in one step, in the form that Chrome's about:tracing and Perfetto read ("Trace Event
// Format", complete events). As upstream, the last but one warm-up step is traced, so that no timed step is.
type trace struct {
	begun time.Time

	mu     sync.Mutex
	Events []traceEvent `json:"traceEvents"`
}

// traceEvent is a phase on a device. Times are microseconds since the step began.
type traceEvent struct {
	Name     string  `json:"name"`
	Phase    string  `json:"ph"`
	Start    float64 `json:"ts"`
	Duration float64 `json:"dur"`
	Process  int     `json:"pid"` // the task
	Thread   int     `json:"tid"` // the device
}

func newTrace() *trace { return &trace{begun: time.Now()} }

// note adds what began at start and has just ended.
func (t *trace) note(name string, start time.Time, task, device int) {
	if t == nil {
		return
	}
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
	e := traceEvent{Name: name, Phase: "X", Start: us(start.Sub(t.begun)), Duration: us(time.Since(start)), Process: task, Thread: device}
	t.mu.Lock()
	t.Events = append(t.Events, e)
	t.mu.Unlock()
}

func (t *trace) write(name string) error {
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(b, '\n'), 0o600)
}
