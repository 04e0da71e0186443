package executor

import (
	"strings"
	"testing"
	"time"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
)

// A background job that dies at step 60 of the 100 that the other takes covers 60 % of it, and the
// trial does not count.
func TestABackgroundThatDiesMakesTheTrialInvalid(t *testing.T) {
	const step = 2 * time.Second
	begin := time.Date(2018, 3, 19, 12, 0, 0, 0, time.UTC)
	background := &plan.Role{Name: "background", Finish: plan.Background}
	worker := &plan.Role{Name: "worker", Finish: plan.Exits}
	for _, c := range []struct {
		name    string
		exit    backends.Exit
		covered float64
		want    string
	}{
		{"dies at step 60", backends.Exit{Code: 137, Started: begin.Add(-time.Minute), Elapsed: time.Minute + 60*step}, 0.6, "background covered 60 % of the time of worker-0: it ended with code 137"},
		{"ends before", backends.Exit{Started: begin.Add(-time.Minute), Elapsed: 30 * time.Second}, 0, "background covered 0 %"},
		{"a moment short", backends.Exit{Started: begin.Add(-time.Minute), Elapsed: time.Minute + 100*step - time.Millisecond}, 0.999995, "background covered 99 %"},
		{"ends after", backends.Exit{Started: begin.Add(-time.Minute), Elapsed: time.Hour}, 1, ""},
		{"is stopped", backends.Exit{Code: 143, Stopped: true, Started: begin.Add(-time.Minute), Elapsed: time.Minute}, 1, ""},
	} {
		procs := []*proc{
			{role: background, exit: c.exit},
			{role: worker, exit: backends.Exit{Started: begin, Elapsed: 100 * step}},
			{role: &plan.Role{Name: "ps", Finish: plan.Stopped}, exit: backends.Exit{Stopped: true, Started: begin, Elapsed: time.Hour}},
		}
		out := make([]journal.Proc, len(procs))
		err := overlap(procs, out)
		if got := out[0].Covered; got == nil || *got < c.covered-1e-9 || *got > c.covered+1e-9 || out[1].Covered != nil {
			t.Errorf("%s: covered %v; want %v", c.name, got, c.covered)
		}
		switch {
		case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v; want %q", c.name, err, c.want)
		case err != nil && backends.ClassOf(err) != backends.Invalid:
			t.Errorf("%s: class %s", c.name, backends.ClassOf(err))
		}
	}
}
