package spec

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dlx.dev/dlx/spec/diag"
)

// memory is a study of one file that lies on no disk.
func memory(text string) *source {
	dir := filepath.Join(string(filepath.Separator), "memory")
	return &source{dir: dir, root: dir, args: []string{"."}, overlay: map[string][]byte{filepath.Join(dir, "study.cue"): []byte(text)}}
}

// checkPlaces fails unless each mistake lies in the text.
func checkPlaces(t *testing.T, err error, text string) {
	t.Helper()
	l := diag.AsList(err)
	if l == nil {
		t.Fatalf("got %v; want a list of mistakes", err)
	}
	lines := strings.Split(text, "\n")
	for _, e := range l {
		for _, p := range append([]diag.Pos{e.Pos}, e.Related...) {
			if p.File != "study.cue" || p.Line < 1 || p.Line > len(lines) || p.Col < 1 || p.Col > len(lines[p.Line-1])+2 {
				t.Errorf("place %v is outside of the text: %v", p, e)
			}
		}
		if strings.TrimSpace(e.Msg) == "" || strings.Contains(e.Msg, "/memory") {
			t.Errorf("message %q", e.Msg)
		}
	}
}

func FuzzLoad(f *testing.F) {
	quickstart, err := os.ReadFile("../testdata/studies/quickstart/study.cue")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(quickstart))
	f.Add("")
	f.Add("package s\nstudy: {name: \"a\n")
	f.Add("package s\nstudy: axes: {model: [1e999999, -1, 0x10, 1_000]}\n")
	f.Add("package s\nstudy: study\n")
	f.Add("package s\nimport \"nowhere.example/x\"\nstudy: x.y\n")
	f.Add("package s\nstudy: workload: kind: \"cnnbench\" | *\"command\"\nstudy: {[string]: int}\n")
	goldens, err := filepath.Glob("testdata/bad/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, g := range goldens {
		b, err := os.ReadFile(g)
		if err != nil {
			f.Fatal(err)
		}
		if _, rest, ok := strings.Cut(string(b), "-- study.cue --\n"); ok {
			text, _, _ := strings.Cut(rest, "\n-- ")
			f.Add(text + "\n")
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4096 || strings.Contains(text, "list.Range") || strings.Contains(text, "strings.Repeat") || strings.Contains(text, "@embed") {
			t.Skip("CUE itself may take forever, or read other files")
		}
		done := make(chan struct{})
		go func() { // CUE cannot be interrupted; what takes long is not dlx's to answer for
			defer close(done)
			s, err := memory(text).study(t.Context(), Options{})
			if err != nil {
				checkPlaces(t, err, text)
			} else if s == nil || s.Incomplete || s.Name == "" || len(s.Axes) == 0 || s.Repeats < 1 {
				t.Errorf("accepted an unfinished study: %+v", s)
			}
		}()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Skip("CUE takes too long")
		}
	})
}

func BenchmarkLoadQuickstart(b *testing.B) {
	for b.Loop() {
		if _, err := Load(b.Context(), "../testdata/studies/quickstart", Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
