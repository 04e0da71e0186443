package compiler_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dlx.dev/dlx/compiler"
	"dlx.dev/dlx/spec"
	"dlx.dev/dlx/spec/diag"
	"dlx.dev/dlx/spec/mutate"
)

const founding = "../testdata/studies/closer2018"

// TestMutationsOfTheFoundingStudyAreFoundAtTheirLines spoils each field, value, number and bracket of
// the study in turn. Of what is refused, 95 % must be shown at the spoilt line (also as the place of
// what it contradicts); what is accepted must have a reason.
func TestMutationsOfTheFoundingStudyAreFoundAtTheirLines(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(founding, "study.cue"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(founding)); err != nil {
		t.Fatal(err)
	}
	testbed, err := spec.LoadTestbed(t.Context(), "sandbox", dir, spec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(b), "\n")
	refused, here, accepted := 0, 0, 0
	for _, m := range mutate.All(string(b)) {
		if err := os.WriteFile(filepath.Join(dir, "study.cue"), []byte(m.Text), 0o600); err != nil {
			t.Fatal(err)
		}
		study, err := spec.Load(t.Context(), dir, spec.Options{})
		if err == nil {
			_, err = compiler.Compile(study, testbed, compiler.Options{})
		}
		line := lines[m.Line-1]
		if err == nil {
			accepted++
			if why := harmless(m, line); why == "" {
				t.Errorf("line %d, %s: accepted\n%s", m.Line, m.What, strings.Split(m.Text, "\n")[m.Line-1])
			}
			continue
		}
		refused++
		list := diag.AsList(err)
		if list == nil {
			t.Errorf("line %d, %s: got %v; want a list of mistakes", m.Line, m.What, err)
		}
		if points(list, m.Line) {
			here++
		} else {
			t.Logf("line %d, %s: %s\n%v", m.Line, m.What, strings.TrimSpace(line), list[0])
		}
	}
	t.Logf("%d refused, %d of them at the line; %d accepted", refused, here, accepted)
	if refused < 300 || here*100 < 95*refused {
		t.Errorf("%d of %d mistakes are shown at their line; want 95 %%", here, refused)
	}
}

func points(list diag.List, line int) bool {
	for _, e := range list {
		for _, p := range append([]diag.Pos{e.Pos}, e.Related...) {
			if p.Line == line && p.File == "study.cue" {
				return true
			}
		}
	}
	return false
}

// harmless says why a spoilt study is one that means something else, and no mistake.
func harmless(m mutate.Mutation, line string) string {
	field, text := strings.HasPrefix(m.What, "field"), strings.HasPrefix(m.What, "string")
	has := func(s string) bool { return strings.Contains(line, s) }
	switch {
	case text && has(`name:  "closer2018"`):
		return "any name will do"
	case text && has(`model: ["inceptionv3", "resnet50", "alexnet"]`) && !has("_table1"):
		return "every block has models of its own, so that these are not used; labels and references name those of the blocks"
	case field && has("_table1: {model") && m.What == "field batch misspelt":
		return "an axis may have any name; without the axis batch, the program's own batch sizes are those of Table 1"
	case m.What == "field gpus misspelt" && has("with: gpus: 2"):
		return "an axis may have any name; without the axis gpus, the program's own number of devices counts"
	case strings.HasSuffix(m.What, "in quotes") && has("with: gpus:"):
		return "a value of an axis may be a text, which is passed on as it is"
	case m.What == "number 0 negative":
		return "-0 is 0"
	case m.What == "field background misspelt" && has("roles: background"):
		return "a role may have any name"
	case text && has(`if scale == "paper"`), inPaper(line):
		return "it stands under a condition that is false, and CUE does not look at it"
	case has("of your copy") && (field || text), m.What == "field doi misspelt":
		return "words for people"
	case text && (has("xTitle:") || has("environment: {isolated:")):
		return "words for people"
	case field && strings.HasPrefix(m.What, "field fig"):
		return "a figure may have any name"
	}
	return ""
}

// inPaper reports whether a line of the study holds for the scale "paper" alone.
func inPaper(line string) bool {
	for _, s := range []string{"program: [", "num_warmup_batches: 10,", `path:     "/data`, "checksum:", "bytes:"} {
		if strings.Contains(line, s) {
			return true
		}
	}
	return false
}
