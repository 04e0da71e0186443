package executor_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/executor"
	"dlx.dev/dlx/executor/journal"
)

var update = flag.Bool("update", false, "rewrite the goldens")

// TestTraces runs each world of testdata in virtual time and compares all that happened. A
// world with a second "at" file is run a second time over the same cloud and run folder.
func TestTraces(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var worldText, again string
			for _, f := range ar.Files {
				switch f.Name {
				case "world":
					worldText = string(f.Data)
				case "again":
					again = string(f.Data)
				}
			}
			dir := t.TempDir()
			var got []txtar.File
			synctest.Test(t, func(t *testing.T) {
				w := parseWorld(t, worldText)
				s := &session{w: w, dir: dir}
				out, err := s.run(t)
				got = append(got, txtar.File{Name: "out/trace", Data: []byte(s.trace.String() + summary(out, err) + machines(w))})
				if again == "" {
					return
				}
				time.Sleep(time.Minute) // virtual: processes go on while dlx is away
				w2 := parseWorld(t, again)
				w2.cloud = w.cloud
				s2 := &session{w: w2, dir: dir}
				out, err = s2.run(t)
				got = append(got, txtar.File{Name: "out/again", Data: []byte(s2.trace.String() + summary(out, err) + machines(w2))})
			})
			compare(t, file, ar, got)
		})
	}
}

func machines(w *world) string { return fmt.Sprintf("machines left: %d\n", w.cloud.Machines()) }

func compare(t *testing.T, file string, ar *txtar.Archive, got []txtar.File) {
	t.Helper()
	kept := &txtar.Archive{Comment: ar.Comment}
	want := map[string]string{}
	for _, f := range ar.Files {
		if strings.HasPrefix(f.Name, "out/") {
			want[f.Name] = string(f.Data)
			continue
		}
		kept.Files = append(kept.Files, f)
	}
	kept.Files = append(kept.Files, got...)
	if *update {
		if b := txtar.Format(kept); !bytes.Equal(b, txtar.Format(ar)) {
			if err := os.WriteFile(file, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	for _, g := range got {
		if d := cmp.Diff(want[g.Name], string(g.Data)); d != "" {
			t.Errorf("%s: %s (-want +got); run with -update after reading it:\n%s", file, g.Name, d)
		}
	}
}

func TestAStopNowReturnsItsCauseAndKeepsTheMachines(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := parseWorld(t, "fleet vm-1\ncell a vm-1\nrun a 100s\nat 50s stop")
		out, err := (&session{w: w, dir: dir}).run(t)
		if !errors.Is(err, errStop) || out.Canceled != 1 || len(out.Left) != 1 || w.cloud.Machines() != 1 {
			t.Errorf("got %v, %+v, %d machines; want the cause, one canceled trial, one object left in the ledger", err, out, w.cloud.Machines())
		}
		w.cloud.Backend().Release(t.Context(), backends.Owner{Run: "r1"}, &nullLedger{}) // only ends the bubble's goroutines
	})
}

// A process can be killed after an object is gone and before that is noted. The next one finds
// that no cloud has it, also if it belongs to no fleet.
func TestWhatIsGoneAndWasNotNotedIsNotLeft(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		const text = "fleet vm-1\ncell a vm-1\nrun a 100s\n"
		w := parseWorld(t, text+"at 50s stop")
		if out, err := (&session{w: w, dir: dir}).run(t); !errors.Is(err, errStop) || len(out.Left) != 1 {
			t.Fatalf("got %v, %+v; want one object in the ledger", err, out)
		}
		if err := w.cloud.Backend().Release(t.Context(), backends.Owner{Run: "r1"}, nullLedger{}); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(filepath.Join(dir, "journal.jsonl"), os.O_APPEND|os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		j, err := journal.NewWriter(f, func(journal.Event) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		for _, cloud := range []string{w.plan.Clouds[0].ID(), "another"} {
			ev := journal.Event{Kind: journal.Made, Owner: &backends.Owner{Run: "r1"}, Object: &backends.Object{Kind: "namespace", Name: "dlx-r1"}, Cloud: cloud}
			if err := j.Append(ev); err != nil {
				t.Fatal(err)
			}
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		w2 := parseWorld(t, text)
		w2.cloud = w.cloud
		if out, err := (&session{w: w2, dir: dir}).run(t); err != nil || len(out.Left) != 1 || out.Left[0].Cloud != "another" || out.Done != 1 {
			t.Errorf("got %v, %+v; want a trial, and left what is in a cloud that this plan does not have", err, out)
		}
	})
}

type nullLedger struct{}

func (nullLedger) Intend(_ context.Context, _ backends.Owner, _ backends.Object) error { return nil }
func (nullLedger) Made(_ context.Context, _ backends.Owner, _ backends.Object) error   { return nil }
func (nullLedger) Gone(_ context.Context, _ backends.Owner, _ backends.Object) error   { return nil }

func TestAJournalThatCannotBeWrittenStopsTheRun(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := parseWorld(t, "repeats 50\nfleet bm-1\nfleet vm-1\ncell long bm-1\ncell a vm-1\nrun long 3000s\nrun a 10s")
		begun := time.Now()
		h := journal.NewHistory()
		f, err := os.Create(filepath.Join(dir, "journal.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		j, err := journal.NewWriter(&brokenFile{File: f, good: 6}, h.Fold)
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		_, err = executor.Execute(t.Context(), w.plan, executor.Options{
			Run: "r1", Dir: dir, Backends: map[string]*backends.Backend{"c": w.cloud.Backend()}, Journal: j, History: h, Parse: readTotal,
		})
		if took := time.Since(begun); !errors.Is(err, errDisk) || took > 10*time.Minute {
			t.Errorf("got %v after %v; want the disk's error without waiting for the trial that runs", err, took)
		}
		w.cloud.Backend().Release(t.Context(), backends.Owner{Run: "r1"}, &nullLedger{}) // only ends the bubble's goroutines
	})
}

var errDisk = errors.New("no space left on device")

type brokenFile struct {
	*os.File
	good int
}

func (f *brokenFile) Write(b []byte) (int, error) {
	if f.good--; f.good < 0 {
		return 0, errDisk
	}
	return f.File.Write(b)
}

func TestAnInvalidTrialIsNeverRetriedAndNeverCounts(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := parseWorld(t, "fleet vm-1\ncell a vm-1\nrun a 10s")
		s := &session{w: w, dir: dir, opt: func(o *executor.Options) {
			o.Parse = func(executor.Trial) (executor.Reading, error) {
				return executor.Reading{Invalid: "batch size 64, declared 32"}, nil
			}
		}}
		out, err := s.run(t)
		if err != nil || out.Failed != 1 || out.Steps[1].Class != backends.Invalid || out.Steps[1].Attempts != 1 {
			t.Errorf("got %+v, %v; want one failed trial of class invalid after one attempt", out, err)
		}
	})
}

// TestRandomPlansAndFaults is the property that everything else rests on: whatever goes wrong,
// every fleet is released, every step has one outcome, and no step starts before what it needs.
func TestRandomPlansAndFaults(t *testing.T) {
	base := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		dir := filepath.Join(base, fmt.Sprint(n))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			rt.Fatal(err)
		}
		text := randomWorld(rt)
		stop := rapid.SampledFrom([]string{"", "", "at 40s drain\n", "at 300s drain\n", "at 100s stop\n"}).Draw(rt, "interruption")
		synctest.Test(t, func(t *testing.T) {
			w := parseWorld(t, text+stop)
			s := &session{w: w, dir: dir}
			out, err := s.run(t)
			if strings.Contains(stop, "stop") && err != nil {
				time.Sleep(time.Minute)
				delete(w.at, "stop")
				s = &session{w: w, dir: dir}
				out, err = s.run(t)
			}
			if err != nil {
				rt.Fatalf("%s\n%v", text, err)
			}
			check(rt, w, s, out, text+stop, dir)
		})
	})
}

func randomWorld(rt *rapid.T) string {
	var b strings.Builder
	fmt.Fprintf(&b, "capacity hosts=%d\nrepeats %d\nattempts %d\n", rapid.IntRange(1, 3).Draw(rt, "hosts"), rapid.IntRange(1, 3).Draw(rt, "repeats"), rapid.IntRange(1, 3).Draw(rt, "attempts"))
	classes := []string{"infra", "quota", "capacity", "transport", "config"}
	fault := func() string {
		if rapid.IntRange(0, 2).Draw(rt, "faulty") > 0 {
			return ""
		}
		return fmt.Sprintf(" fail %s %d", rapid.SampledFrom(classes).Draw(rt, "class"), rapid.IntRange(1, 4).Draw(rt, "times"))
	}
	fleets := rapid.IntRange(1, 4).Draw(rt, "fleets")
	for f := range fleets {
		fmt.Fprintf(&b, "fleet f%d hosts=1\nboot f%d %ds%s\nremove f%d 3s%s\n", f, f, rapid.IntRange(1, 90).Draw(rt, "boot"), fault(), f, fault())
		for c := range rapid.IntRange(1, 3).Draw(rt, "cells") {
			server := rapid.SampledFrom([]string{"", " ps:stopped"}).Draw(rt, "server")
			fmt.Fprintf(&b, "cell c%d%d f%d%s\nrun c%d%d %ds exit %d%s\n", f, c, f, server, f, c, rapid.IntRange(1, 60).Draw(rt, "run"), rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(rt, "exit"), fault())
		}
	}
	return b.String()
}

func check(rt *rapid.T, w *world, s *session, out *executor.Outcome, text, dir string) {
	fail := func(format string, args ...any) {
		rt.Fatalf("%s\n%s\n%s", text, s.trace.String(), fmt.Sprintf(format, args...))
	}
	if n := w.cloud.Machines(); n != len(out.Left) {
		fail("%d machines exist, the ledger knows of %d", n, len(out.Left))
	}
	released := true
	for i := range out.Steps {
		st := out.Steps[i]
		if st.State == "" {
			fail("step %s has no outcome", w.plan.StepID(i))
		}
		if strings.HasPrefix(w.plan.StepID(i), "release/") && st.State != journal.Done {
			released = false
		}
	}
	if released && len(out.Left) > 0 {
		fail("every release is done, and %d objects are left", len(out.Left))
	}
	if n := out.Done + out.Failed + out.Skipped + out.Canceled; n != out.Trials {
		fail("%d outcomes of %d trials", n, out.Trials)
	}
	order(w, dir, fail)
}

// order replays the journal: no step starts before those it needs are done, nothing of a fleet
// happens after its release began, and no trial is observed twice.
func order(w *world, dir string, fail func(string, ...any)) {
	f, err := os.Open(filepath.Join(dir, "journal.jsonl"))
	if err != nil {
		fail("%v", err)
	}
	defer f.Close()
	index := map[string]int{}
	for i := range w.plan.Steps {
		index[w.plan.StepID(i)] = i
	}
	done, observed := map[int]bool{}, map[string]bool{}
	if _, err := journal.Read(f, func(ev journal.Event) error {
		i := index[ev.Step]
		switch ev.Kind {
		case journal.Opened:
			done = map[int]bool{}
		case journal.Started:
			for _, a := range w.plan.Steps[i].After {
				if !done[int(a)] {
					fail("%s started before %s was done", ev.Step, w.plan.StepID(int(a)))
				}
			}
		case journal.Observed:
			if observed[ev.Step] {
				fail("%s is observed twice", ev.Step)
			}
			observed[ev.Step] = true
		case journal.Ended:
			done[i] = done[i] || ev.State == journal.Done
		default:
		}
		return nil
	}); err != nil {
		fail("%v", err)
	}
}
