package spec

import (
	"os"
	"strings"
	"testing"

	"dlx.dev/dlx/spec/diag"
	"dlx.dev/dlx/spec/mutate"
)

// harmless says why a mutation is a study that means something else, and no mistake.
func harmless(m mutate.Mutation, line string) string {
	switch {
	case strings.Contains(line, `name:  "quickstart"`) && strings.HasPrefix(m.What, "string"):
		return "any name will do"
	case strings.Contains(line, `name: "single"`) && strings.HasPrefix(m.What, "string"):
		return "a block may have any name; the figure that names it is what points to nothing then"
	case strings.Contains(line, "orchestration: [") && strings.HasPrefix(m.What, "string"):
		return "the study may name any orchestration; the testbed knows which there are"
	case strings.Contains(line, "flags: {") && strings.HasPrefix(m.What, "bracket"):
		return "flags: batch_size: 1 is the same struct in short"
	case strings.HasPrefix(m.What, "field dataset misspelt"):
		return "an axis may have any name, and nothing speaks of this one"
	case strings.Contains(line, "roles: worker") && strings.HasPrefix(m.What, "field worker"):
		return "a role may have any name"
	case (strings.Contains(line, "throughput: {") || strings.Contains(line, "elapsed: {title")) && strings.HasPrefix(m.What, "field") && (strings.Contains(m.What, "throughput") || strings.Contains(m.What, "elapsed")):
		return "a figure may have any name"
	}
	return ""
}

// elsewhere says at which line a mistake shows that follows from a mutation: what is renamed is
// as good as what names it.
func elsewhere(m mutate.Mutation, lines []string, at diag.Pos) string {
	line, shown := lines[m.Line-1], lines[at.Line-1]
	switch {
	case strings.Contains(line, `model: ["inceptionv3"`) && strings.HasPrefix(m.What, "string") && at.Line > m.Line:
		return "the value is renamed, and per speaks of the old name"
	case (strings.Contains(line, "model: [") || strings.Contains(line, "orchestration: [")) && strings.HasPrefix(m.What, "field") && at.Line > m.Line:
		return "the axis is renamed, and others speak of the old name"
	case strings.Contains(line, "orchestration: [") && strings.HasPrefix(m.What, "string bm") && strings.Contains(shown, "baseline"):
		return "the value is renamed, and the baseline speaks of the old name"
	case strings.Contains(line, `name: "single"`) && strings.Contains(shown, "block:"):
		return "the block is renamed, and the figure speaks of the old name"
	case strings.HasPrefix(m.What, "bracket") && strings.TrimSpace(line) == "}" && strings.HasSuffix(shown, "{") && indent(shown) == indent(line):
		return "the bracket that lost its partner is shown"
	case strings.Contains(line, "metrics: {") && strings.HasPrefix(m.What, "field") && strings.Contains(shown, "metric:"):
		return "the metric is renamed, and the figure speaks of the old name"
	case strings.Contains(line, "metrics: {") && strings.HasPrefix(m.What, "field") && strings.Contains(shown, "elapsed: {title"):
		return "the metric is renamed, and the figure speaks of the old name"
	}
	return ""
}

func indent(line string) int { return len(line) - len(strings.TrimLeft(line, "\t")) }

func TestEachMutationOfTheQuickstartIsFoundAtItsLine(t *testing.T) {
	b, err := os.ReadFile("../testdata/studies/quickstart/study.cue")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	lines := strings.Split(text, "\n")
	all := mutate.All(text)
	if len(all) < 120 {
		t.Errorf("only %d mutations", len(all))
	}
	accepted := 0
	for _, m := range all {
		line := lines[m.Line-1]
		s, err := memory(m.Text).study(t.Context(), Options{})
		if err == nil {
			accepted++
			if harmless(m, line) == "" {
				t.Errorf("line %d, %s: accepted; want a mistake\n%s", m.Line, m.What, strings.Split(m.Text, "\n")[m.Line-1])
			}
			if s == nil || s.Incomplete {
				t.Errorf("line %d, %s: accepted, but incomplete", m.Line, m.What)
			}
			continue
		}
		checkPlaces(t, err, m.Text)
		here := false
		for _, e := range diag.AsList(err) {
			here = here || e.Pos.Line == m.Line || elsewhere(m, lines, e.Pos) != ""
		}
		if !here {
			t.Errorf("line %d, %s: no mistake is shown at the line\n%s\n%v", m.Line, m.What, strings.Split(m.Text, "\n")[m.Line-1], err)
		}
	}
	t.Logf("%d mutations, %d of them harmless", len(all), accepted)
}
