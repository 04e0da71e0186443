package spec

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"dlx.dev/dlx/spec/diag"
)

// The two ways of reading agree on every study and testbed without mistakes, but for places: a
// value that came from elsewhere is shown there by one and where it is used by the other.
func TestBothReadingsAgree(t *testing.T) {
	var dirs []string
	for _, a := range archives(t, "testdata/good/*.txtar") {
		dirs = append(dirs, a.extract(t))
	}
	studies, err := filepath.Glob("../testdata/studies/*")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, dir := range append(dirs, studies...) {
		files, err := filepath.Glob(filepath.Join(dir, "testbeds", "*.cue"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			s, err := testbedSource(f, dir)
			if err != nil {
				t.Fatal(err)
			}
			want, err := s.faultyTestbed(t.Context(), Options{})
			if err != nil {
				t.Fatalf("%s: %v", f, err)
			}
			n++
			agree(t, f, s.faultlessTestbed(t.Context(), Options{}), want)
		}
		if _, err := os.Stat(filepath.Join(dir, "study.cue")); err != nil {
			continue
		}
		s, err := newSource(dir, []string{"."})
		if err != nil {
			t.Fatal(err)
		}
		want, err := s.faultyStudy(t.Context(), Options{})
		if err != nil {
			continue // it wants a -t
		}
		n++
		agree(t, dir, s.faultlessStudy(t.Context(), Options{}), want)
	}
	if n < 5 {
		t.Errorf("compared only %d studies and testbeds", n)
	}
}

func agree[T any](t *testing.T, name string, got, want *T) {
	t.Helper()
	if got == nil {
		t.Errorf("%s: the quick reading leaves it to the other", name)
		return
	}
	if d := cmp.Diff(want, got, cmpopts.IgnoreTypes(diag.Pos{}, []diag.Pos{}), cmpopts.EquateEmpty()); d != "" {
		t.Errorf("%s: the quick reading says otherwise (-slow +quick):\n%s", name, d)
	}
}
