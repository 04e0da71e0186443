package spec

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"dlx.dev/dlx/spec/diag"
)

var update = flag.Bool("update", false, "rewrite goldens")

// An archive is one golden: a comment with settings ("schema: yes", "tags: a=b c=d", "testbed:
// file or name", "dir: folder"), files, and what reading them gives.
type archive struct {
	name string
	ar   *txtar.Archive
}

func archives(t *testing.T, pattern string) []archive {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no goldens match %s: %v", pattern, err)
	}
	var out []archive
	for _, f := range files {
		ar, err := txtar.ParseFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, archive{f, ar})
	}
	return out
}

func (a archive) setting(key string) string {
	for line := range strings.Lines(string(a.ar.Comment)) {
		if v, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func isOutput(name string) bool {
	return name == "errors" || name == "study.json" || name == "testbed.json"
}

// extract writes the inputs and returns the folder of the study.
func (a archive) extract(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, f := range a.ar.Files {
		if isOutput(f.Name) {
			continue
		}
		name := filepath.Join(root, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, f.Data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(root, filepath.FromSlash(a.setting("dir")))
}

// load reads the study, or the testbed if the archive asks for one.
func (a archive) load(t *testing.T, dir string) (any, string, error) {
	o := Options{Tags: strings.Fields(a.setting("tags"))}
	if tb := a.setting("testbed"); tb != "" {
		base := dir
		if strings.HasSuffix(tb, ".cue") {
			tb = filepath.Join(dir, tb)
			base = filepath.Dir(tb)
		}
		v, err := LoadTestbed(t.Context(), tb, dir, o)
		return v, base, err
	}
	v, err := Load(t.Context(), dir, o)
	return v, dir, err
}

func printed(dir string, err error) []byte {
	var b bytes.Buffer
	diag.Print(&b, err, func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(dir, name)) })
	return b.Bytes()
}

// check compares a file of the archive with what was got, or rewrites it.
func (a archive) check(t *testing.T, name string, got []byte) {
	t.Helper()
	var want []byte
	at := -1
	for i, f := range a.ar.Files {
		if f.Name == name {
			want, at = f.Data, i
		}
	}
	if bytes.Equal(got, want) {
		return
	}
	if !*update {
		t.Errorf("%s: %s differs (-want +got; rewrite with -update):\n%s", a.name, name, cmp.Diff(string(want), string(got)))
		return
	}
	if at < 0 {
		at = len(a.ar.Files)
		a.ar.Files = append(a.ar.Files, txtar.File{Name: name})
	}
	a.ar.Files[at].Data = got
	if err := os.WriteFile(a.name, txtar.Format(a.ar), 0o666); err != nil {
		t.Fatal(err)
	}
}

// words of CUE that a user need not know.
var cueWords = []string{"_|_", "bottom", "disjunct", "non-concrete", "unif", "incomplete value", "conjunct", "#Study", "schema refuses"}

func TestBadStudiesAreExplained(t *testing.T) {
	for _, a := range archives(t, "testdata/bad/*.txtar") {
		t.Run(strings.TrimSuffix(filepath.Base(a.name), ".txtar"), func(t *testing.T) {
			dir := a.extract(t)
			_, base, err := a.load(t, dir)
			if err == nil {
				t.Fatal("no error; want some")
			}
			text := printed(base, err)
			a.check(t, "errors", text)
			for _, e := range diag.AsList(err) {
				for _, w := range cueWords {
					if strings.Contains(strings.ReplaceAll(e.Msg, "dlx.#Study", ""), w) {
						t.Errorf("message speaks of %q: %s", w, e)
					}
				}
				if e.Msg != strings.TrimRight(e.Msg, ".") || strings.Contains(e.Msg, base) || strings.Contains(e.Msg, "\n") {
					t.Errorf("message has a final period, a line break or a path of this machine: %q", e.Msg)
				}
			}
			if again := func() []byte { _, _, err := a.load(t, dir); return printed(base, err) }(); !bytes.Equal(again, text) {
				t.Errorf("a second reading says otherwise:\n%s", cmp.Diff(string(text), string(again)))
			}
		})
	}
}

func TestGoodStudiesDecode(t *testing.T) {
	for _, a := range archives(t, "testdata/good/*.txtar") {
		t.Run(strings.TrimSuffix(filepath.Base(a.name), ".txtar"), func(t *testing.T) {
			v, base, err := a.load(t, a.extract(t))
			if err != nil {
				t.Fatalf("%s", printed(base, err))
			}
			b, err := json.MarshalIndent(v, "", " ")
			if err != nil {
				t.Fatal(err)
			}
			name := "study.json"
			if _, ok := v.(*Testbed); ok {
				name = "testbed.json"
			}
			a.check(t, name, compact(t, b))
		})
	}
}

// compact leaves out what is empty and writes places as "file:line:column".
func compact(t *testing.T, b []byte) []byte {
	var v any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	out, err := json.MarshalIndent(strip(v), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return append(out, '\n')
}

func strip(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if f, ok := v["file"].(string); ok && len(v) == 3 {
			return f + ":" + string(v["line"].(json.Number)) + ":" + string(v["column"].(json.Number))
		}
		for k, x := range v {
			switch s := strip(x); s {
			case nil, "", false, ":0:0":
				delete(v, k)
			default:
				v[k] = s
			}
		}
		return v
	case []any:
		for i := range v {
			v[i] = strip(v[i])
		}
		if len(v) == 0 {
			return nil
		}
		return box{v}
	default:
		return v
	}
}

// A box makes a list comparable.
type box struct{ list any }

func (b box) MarshalJSON() ([]byte, error) { return json.Marshal(b.list) }

func TestQuickstartLoads(t *testing.T) {
	s, err := Load(t.Context(), "../testdata/studies/quickstart", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "quickstart" || s.Incomplete || len(s.Axes) != 3 || len(s.Figures) != 2 || s.Repeats != 3 {
		t.Errorf("got %+v", s)
	}
	if got, want := s.Axes[0].Name+s.Axes[1].Name+s.Axes[2].Name, "modeldatasetorchestration"; got != want {
		t.Errorf("axes in the order %s; want that of the file, %s", got, want)
	}
	copied, err := embedded.ReadFile("starter/study.cue")
	if err != nil {
		t.Fatal(err)
	}
	original, err := os.ReadFile("../testdata/studies/quickstart/study.cue")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(copied, original) {
		t.Error("spec/starter/study.cue and testdata/studies/quickstart/study.cue differ; copy one over the other")
	}
}

func TestWhatIsNoStudyIsNotAList(t *testing.T) {
	if _, err := Load(t.Context(), filepath.Join(t.TempDir(), "none"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v; want that the folder does not exist", err)
	}
	file := filepath.Join(t.TempDir(), "study.cue")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(t.Context(), file, Options{}); err == nil || !strings.Contains(err.Error(), "not a folder") {
		t.Errorf("got %v; want that it is not a folder", err)
	}
}
