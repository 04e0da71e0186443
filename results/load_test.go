package results

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
)

func TestAFolderThatCannotBeReadSaysWhy(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(t *testing.T) string
		want string
		is   error
	}{
		{"a folder that is not there", func(t *testing.T) string { return filepath.Join(t.TempDir(), "none") }, "none: not a run folder: ", fs.ErrNotExist},
		{"a folder without a plan", func(t *testing.T) string { return t.TempDir() }, ": not a run folder: ", fs.ErrNotExist},
		{"a folder without a journal", func(t *testing.T) string {
			dir := folder(t)
			if err := os.Remove(filepath.Join(dir, JournalFile)); err != nil {
				t.Fatal(err)
			}
			return dir
		}, ": not a run folder: ", fs.ErrNotExist},
		{"a journal that is damaged before its end", func(t *testing.T) string {
			dir := folder(t)
			name := filepath.Join(dir, JournalFile)
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, bytes.Replace(b, []byte(`"value":5`), []byte(`"value":6`), 1), 0o600); err != nil {
				t.Fatal(err)
			}
			return dir
		}, "journal.jsonl: line 3: ", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Load(c.make(t))
			if err == nil || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("got %v; want one with %q that is %v", err, c.want, c.is)
			}
		})
	}
}

func TestAnEndThatWasCutInHalfLeavesTheObservationInForce(t *testing.T) {
	dir := folder(t)
	name := filepath.Join(dir, JournalFile)
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	all := bytes.SplitAfter(b, []byte("\n"))
	half := all[3][:len(all[3])/2] // the end of the first trial
	if err := os.WriteFile(name, append(bytes.Join(all[:3], nil), half...), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if o, ok := r.Trial(0, 1).Value("rate"); !ok || o.Value != 5 || r.Trial(0, 1).State != journal.Done {
		t.Errorf("got %+v; want the first trial done: its numbers are there", r.Trial(0, 1))
	}
	if tr := r.Trial(0, 2); tr.State != "" || tr.Attempts != 0 {
		t.Errorf("got %+v; want the second trial untried", tr)
	}
}

func TestWhatTheLedgerDoesNotKnowToBeGoneIsLeft(t *testing.T) {
	p := &plan.Plan{Repeats: 1, Fleets: []plan.Fleet{{Name: "vm-1"}}, Cells: []plan.Cell{{Name: "a", Key: "k"}}}
	h := journal.NewHistory()
	server, port := backends.Object{Kind: "server", Name: "m0"}, backends.Object{Kind: "port", Name: "p0"}
	for _, ev := range []journal.Event{
		{Kind: journal.Intend, Owner: &backends.Owner{}, Object: &server},
		{Kind: journal.Intend, Owner: &backends.Owner{}, Object: &port},
		{Kind: journal.Gone, Owner: &backends.Owner{}, Object: &port},
	} {
		if err := h.Fold(ev); err != nil {
			t.Fatal(err)
		}
	}
	r, err := FromHistory(p, h)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"server m0"}, r.Left); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestATrialOfACellThatWasAnotherOneThenIsUntried(t *testing.T) {
	p := &plan.Plan{Repeats: 1, Fleets: []plan.Fleet{{Name: "vm-1"}}, Cells: []plan.Cell{{Name: "a", Key: "new"}}}
	h := journal.NewHistory()
	for _, ev := range []journal.Event{
		{Kind: journal.Started, Step: "trial/a/r1", Attempt: 1},
		{Kind: journal.Observed, Step: "trial/a/r1", Key: "old", Repeat: 1, Observations: []journal.Observation{{Metric: "rate", Value: 1}}},
		{Kind: journal.Ended, Step: "trial/a/r1", Attempt: 1, State: journal.Done},
	} {
		if err := h.Fold(ev); err != nil {
			t.Fatal(err)
		}
	}
	r, err := FromHistory(p, h)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(&Trial{Repeat: 1}, r.Trial(0, 1)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// What a cloud says of its machines tells a sandbox from a real cloud, whatever backend it was
// reached by.
func TestMachinesOfASandboxMarkTheRun(t *testing.T) {
	for _, c := range []struct {
		facts map[string]string
		want  plan.Caveat
	}{
		{map[string]string{"metadata.sandbox.dlx.dev": "processes of one computer"}, plan.Sandbox},
		{map[string]string{"properties.sandbox.dlx.dev": "processes of one computer"}, plan.Sandbox},
		{map[string]string{"node.runtime": "sandbox://1"}, plan.Sandbox},
		{map[string]string{"node.runtime": "containerd://2.1", "image": "sandbox"}, plan.NoCaveat},
		{nil, plan.NoCaveat},
	} {
		r := &Run{Plan: &plan.Plan{}, Trials: []Trial{{}, {Machines: []journal.MachineFact{{Name: "m", Facts: c.facts}}}}}
		before := r.Plan
		r.mark()
		if r.Plan.Caveat != c.want || before.Caveat != plan.NoCaveat {
			t.Errorf("%v: got %q, want %q", c.facts, r.Plan.Caveat, c.want)
		}
	}
}
