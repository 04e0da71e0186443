package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dlx.dev/dlx/backends"
)

func collect(t *testing.T, path string) []Event {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []Event
	if _, err := Read(f, func(ev Event) error { out = append(out, ev); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

func write(t *testing.T, path string, events ...Event) {
	t.Helper()
	w, err := Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Append(events...); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestEventsComeBackInOrderAcrossReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	write(t, path, Event{Kind: Opened, Run: "r1"}, Event{Kind: Started, Step: "trial/a <b>/r1", Attempt: 1})
	write(t, path, Event{Kind: Observed, Key: "k", Repeat: 2, Observations: []Observation{{Metric: "throughput", Value: 119.9, Unit: "images/s"}}})
	got := collect(t, path)
	if len(got) != 3 || got[2].Seq != 3 || got[1].Step != "trial/a <b>/r1" || got[2].Observations[0].Value != 119.9 {
		t.Errorf("got %+v", got)
	}
}

func TestEveryCutOfTheLastLineIsATornTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	write(t, path, Event{Kind: Opened, Run: "r1"}, Event{Kind: Note, Text: "the last line"})
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first := bytes.IndexByte(whole, '\n') + 1
	for cut := first; cut < len(whole); cut++ {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		write(t, path, Event{Kind: Note, Text: "after the crash"})
		got := collect(t, path)
		if len(got) != 2 || got[1].Text != "after the crash" || got[1].Seq != 2 {
			t.Fatalf("cut at %d: got %+v", cut, got)
		}
	}
}

func TestDamageFurtherUpIsAnErrorThatNamesTheLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	write(t, path, Event{Kind: Opened, Run: "r1"}, Event{Kind: Note, Text: "two"}, Event{Kind: Note, Text: "three"})
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.Replace(b, []byte("two"), []byte("2wo"), 1)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, nil); err == nil || !strings.Contains(err.Error(), "line 2: damaged: checksum") {
		t.Errorf("got %v; want an error naming line 2", err)
	}
}

func TestConcurrentAppendsAreAllDurableAndNumberedWithoutGaps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	w, err := Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for j := range 8 {
				if err := w.Append(Event{Kind: Note, Text: fmt.Sprint(i, j)}, Event{Kind: Note, Text: fmt.Sprint(i, j, "b")}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got := collect(t, path)
	if len(got) != 512 {
		t.Fatalf("got %d events; want 512", len(got))
	}
	for i, ev := range got {
		if ev.Seq != int64(i+1) {
			t.Fatalf("event %d has number %d", i+1, ev.Seq)
		}
	}
}

// fullFile refuses writes past a size, as a full disk does.
type fullFile struct {
	*os.File
	room int
}

var errFull = errors.New("no space left on device")

func (f *fullFile) Write(b []byte) (int, error) {
	if len(b) > f.room {
		n, _ := f.File.Write(b[:f.room])
		f.room = 0
		return n, errFull
	}
	f.room -= len(b)
	return f.File.Write(b)
}

func TestAFullDiskLosesNothingThatWasDurable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWriter(&fullFile{f, 400}, nil)
	if err != nil {
		t.Fatal(err)
	}
	kept := 0
	for ; err == nil; kept++ {
		err = w.Append(Event{Kind: Note, Text: "x"})
	}
	if !errors.Is(err, errFull) || !errors.Is(w.Append(Event{Kind: Note}), errFull) {
		t.Errorf("got %v; want the disk's error, also later", err)
	}
	w.Close()
	if got := collect(t, path); len(got) != kept-1 {
		t.Errorf("got %d events; want the %d that were confirmed", len(got), kept-1)
	}
}

func TestHistoryKnowsWhatIsOpenObservedAndOwned(t *testing.T) {
	o := backends.Owner{Run: "r", Fleet: "vm-1"}
	obj := func(name string) *backends.Object { return &backends.Object{Kind: "server", Name: name} }
	h := NewHistory()
	for _, ev := range []Event{
		{Kind: Opened, Run: "r", Plan: "p"},
		{Kind: Started, Step: "trial/a/r1", Attempt: 1},
		{Kind: Ended, Step: "trial/a/r1", Attempt: 1, State: Failed, Class: backends.Infra},
		{Kind: Started, Step: "trial/a/r1", Attempt: 2},
		{Kind: Observed, Key: "k", Repeat: 1},
		{Kind: Intend, Owner: &o, Object: obj("a")},
		{Kind: Intend, Owner: &o, Object: obj("b")},
		{Kind: Made, Owner: &o, Object: obj("b")},
		{Kind: Intend, Owner: &o, Object: obj("c")},
		{Kind: Gone, Owner: &o, Object: obj("c")},
	} {
		if err := h.Fold(ev); err != nil {
			t.Fatal(err)
		}
	}
	if s := h.Steps["trial/a/r1"]; s.Attempts != 2 || !s.Open || s.Last.State != Failed {
		t.Errorf("got step %+v", s)
	}
	if _, ok := h.Observed[TrialKey{"k", 1}]; !ok {
		t.Error("the observed trial is not known")
	}
	want := []Owned{{o, *obj("a"), "", false}, {o, *obj("b"), "", true}}
	if d := cmp.Diff(want, h.Owned()); d != "" {
		t.Errorf("owned (-want +got):\n%s", d)
	}
}

func FuzzRead(f *testing.F) {
	var b []byte
	for i := range 3 {
		b, _ = appendLine(b, &Event{Seq: int64(i + 1), Kind: Note, Text: "x"})
	}
	f.Add(b)
	f.Add(b[:len(b)-3])
	f.Add([]byte(`{"crc":"00000000","seq":1}` + "\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		n := 0
		whole, err := Read(bytes.NewReader(in), func(Event) error { n++; return nil })
		if whole > int64(len(in)) || whole < 0 {
			t.Fatalf("whole part of %d bytes is %d", len(in), whole)
		}
		if err == nil {
			again := 0
			if w2, err := Read(bytes.NewReader(in[:whole]), func(Event) error { again++; return nil }); err != nil || w2 != whole || again != n {
				t.Fatalf("reading the whole part again: %d events of %d, %d bytes of %d, %v", again, n, w2, whole, err)
			}
		}
	})
}
