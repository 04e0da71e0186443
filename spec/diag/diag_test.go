package diag

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func sample() List {
	var l List
	l.Addf(Pos{"b.cue", 2, 3}, "study.name", "second file")
	l.Addf(Pos{"a.cue", 10, 1}, "", "tenth line")
	l.Addf(Pos{"a.cue", 2, 2}, "study.x", "found %d", 3)
	l.Addf(Pos{"a.cue", 2, 2}, "study.x", "found %d", 3) // twice
	l.Addf(Pos{}, "", "no place")
	return l
}

func TestErrSortsByPlaceAndDropsRepetitions(t *testing.T) {
	l := sample()
	err := l.Err()
	want := `no place
a.cue:2:2: study.x: found 3
a.cue:10:1: tenth line
b.cue:2:3: study.name: second file`
	if d := cmp.Diff(want, err.Error()); d != "" {
		t.Error(d)
	}
	var none List
	if none.Err() != nil {
		t.Error("an empty list is an error")
	}
}

func TestInPutsTheFolderInFrontAndLeavesTheOriginal(t *testing.T) {
	l := List{{Pos: Pos{"a.cue", 1, 1}, Msg: "x", Related: []Pos{{"../b.cue", 2, 2}, {"/abs.cue", 3, 3}}}}
	got := l.In("dir/study")
	want := List{{Pos: Pos{"dir/study/a.cue", 1, 1}, Msg: "x", Related: []Pos{{"dir/b.cue", 2, 2}, {"/abs.cue", 3, 3}}}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if l[0].Pos.File != "a.cue" || l[0].Related[0].File != "../b.cue" {
		t.Error("the original list has changed")
	}
}

func TestAsListFindsMistakesInsideOtherErrors(t *testing.T) {
	l := sample()
	if got := AsList(fmt.Errorf("plan: %w", l)); len(got) != len(l) {
		t.Errorf("got %d mistakes; want %d", len(got), len(l))
	}
	if got := AsList(fmt.Errorf("plan: %w", l[0])); len(got) != 1 {
		t.Errorf("got %d mistakes; want 1", len(got))
	}
	if got := AsList(errors.New("other")); got != nil {
		t.Errorf("got %v; want none", got)
	}
}

func TestPrintShowsTheLineWithACaretUnderTheColumn(t *testing.T) {
	read := func(name string) ([]byte, error) {
		if name != "a.cue" {
			return nil, fs.ErrNotExist
		}
		return []byte("one\r\n\ttwo: 2\r\n"), nil
	}
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"tabs stay tabs", &Error{Pos: Pos{"a.cue", 2, 7}, Path: "two", Msg: "too many"}, "a.cue:2:7: two: too many\n    \ttwo: 2\n    \t     ^\n"},
		{"a column past the end", &Error{Pos: Pos{"a.cue", 1, 99}, Msg: "x"}, "a.cue:1:99: x\n    one\n       ^\n"},
		{"a line past the end", &Error{Pos: Pos{"a.cue", 99, 1}, Msg: "x"}, "a.cue:99:1: x\n"},
		{"a file that cannot be read", &Error{Pos: Pos{"b.cue", 1, 1}, Msg: "x"}, "b.cue:1:1: x\n"},
		{"a file without a line", &Error{Pos: Pos{File: "b.cue"}, Msg: "x"}, "b.cue: x\n"},
		{"related places", &Error{Pos: Pos{"b.cue", 1, 1}, Msg: "x", Related: []Pos{{"a.cue", 1, 1}}}, "b.cue:1:1: x\n  see also a.cue:1:1\n    one\n    ^\n"},
		{"another error", errors.New("plain"), "plain\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b bytes.Buffer
			Print(&b, c.err, read)
			if d := cmp.Diff(c.want, b.String()); d != "" {
				t.Error(d)
			}
		})
	}
}

func FuzzPrint(f *testing.F) {
	f.Add("one\n\ttwo", 2, 3)
	f.Fuzz(func(_ *testing.T, text string, line, col int) {
		Print(&bytes.Buffer{}, &Error{Pos: Pos{"a", line, col}, Msg: "x"}, func(string) ([]byte, error) { return []byte(text), nil })
	})
}
