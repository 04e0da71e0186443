package spec

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"dlx.dev/dlx/spec/diag"
)

// A mutation is the quickstart with one thing spoilt in one line.
type mutation struct {
	what string
	line int // from 1
	text string
}

var (
	fieldName = regexp.MustCompile(`([A-Za-z_]+):`)
	number    = regexp.MustCompile(`: +([0-9]+)`)
	quoted    = regexp.MustCompile(`"([a-z0-9]+)"`)
)

// mutations spoils each field name, number, string and bracket of a study in turn.
func mutations(text string) []mutation {
	var out []mutation
	lines := strings.Split(text, "\n")
	start := 0
	for i, l := range lines {
		if strings.HasPrefix(l, "study:") {
			start = i + 1
		}
	}
	for i := start; i < len(lines); i++ {
		line := lines[i]
		if strings.HasPrefix(strings.TrimSpace(line), "//") {
			continue
		}
		add := func(what string, from, to int, by string) {
			m := append([]string{}, lines...)
			m[i] = line[:from] + by + line[to:]
			out = append(out, mutation{what, i + 1, strings.Join(m, "\n")})
		}
		for _, at := range fieldName.FindAllStringSubmatchIndex(line, -1) {
			word := line[at[2]:at[3]]
			add("field "+word+" misspelt", at[2], at[3], word[:1]+"q"+word[1:])
		}
		for _, at := range number.FindAllStringSubmatchIndex(line, -1) {
			word := line[at[2]:at[3]]
			add("number "+word+" in quotes", at[2], at[3], `"`+word+`"`)
			add("number "+word+" negative", at[2], at[3], "-"+word)
		}
		for _, at := range quoted.FindAllStringSubmatchIndex(line, -1) {
			word := line[at[2]:at[3]]
			add("string "+word+" misspelt", at[2], at[3], word[:1]+"q"+word[1:])
		}
		for j, c := range line {
			if strings.ContainsRune("{}[]", c) {
				add(fmt.Sprintf("bracket %c at %d lost", c, j+1), j, j+1, "")
			}
		}
	}
	return out
}

// harmless says why a mutation is a study that means something else, and no mistake.
func harmless(m mutation, line string) string {
	switch {
	case strings.Contains(line, `name:  "quickstart"`) && strings.HasPrefix(m.what, "string"):
		return "any name will do"
	case strings.Contains(line, `name: "single"`) && strings.HasPrefix(m.what, "string"):
		return "a block may have any name; the figure that names it is what points to nothing then"
	case strings.Contains(line, "orchestration: [") && strings.HasPrefix(m.what, "string"):
		return "the study may name any orchestration; the testbed knows which there are"
	case strings.Contains(line, "flags: {") && strings.HasPrefix(m.what, "bracket"):
		return "flags: batch_size: 1 is the same struct in short"
	case strings.HasPrefix(m.what, "field dataset misspelt"):
		return "an axis may have any name, and nothing speaks of this one"
	case strings.Contains(line, "roles: worker") && strings.HasPrefix(m.what, "field worker"):
		return "a role may have any name"
	case (strings.Contains(line, "throughput: {") || strings.Contains(line, "elapsed: {title")) && strings.HasPrefix(m.what, "field") && (strings.Contains(m.what, "throughput") || strings.Contains(m.what, "elapsed")):
		return "a figure may have any name"
	}
	return ""
}

// elsewhere says at which line a mistake shows that follows from a mutation: what is renamed is
// as good as what names it.
func elsewhere(m mutation, lines []string, at diag.Pos) string {
	line, shown := lines[m.line-1], lines[at.Line-1]
	switch {
	case strings.Contains(line, `model: ["inceptionv3"`) && strings.HasPrefix(m.what, "string") && at.Line > m.line:
		return "the value is renamed, and per speaks of the old name"
	case (strings.Contains(line, "model: [") || strings.Contains(line, "orchestration: [")) && strings.HasPrefix(m.what, "field") && at.Line > m.line:
		return "the axis is renamed, and others speak of the old name"
	case strings.Contains(line, "orchestration: [") && strings.HasPrefix(m.what, "string bm") && strings.Contains(shown, "baseline"):
		return "the value is renamed, and the baseline speaks of the old name"
	case strings.Contains(line, `name: "single"`) && strings.Contains(shown, "block:"):
		return "the block is renamed, and the figure speaks of the old name"
	case strings.HasPrefix(m.what, "bracket") && strings.TrimSpace(line) == "}" && strings.HasSuffix(shown, "{") && indent(shown) == indent(line):
		return "the bracket that lost its partner is shown"
	case strings.Contains(line, "metrics: {") && strings.HasPrefix(m.what, "field") && strings.Contains(shown, "metric:"):
		return "the metric is renamed, and the figure speaks of the old name"
	case strings.Contains(line, "metrics: {") && strings.HasPrefix(m.what, "field") && strings.Contains(shown, "elapsed: {title"):
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
	all := mutations(text)
	if len(all) < 120 {
		t.Errorf("only %d mutations", len(all))
	}
	accepted := 0
	for _, m := range all {
		line := lines[m.line-1]
		s, err := memory(m.text).study(t.Context(), Options{})
		if err == nil {
			accepted++
			if harmless(m, line) == "" {
				t.Errorf("line %d, %s: accepted; want a mistake\n%s", m.line, m.what, strings.Split(m.text, "\n")[m.line-1])
			}
			if s == nil || s.Incomplete {
				t.Errorf("line %d, %s: accepted, but incomplete", m.line, m.what)
			}
			continue
		}
		checkPlaces(t, err, m.text)
		here := false
		for _, e := range diag.AsList(err) {
			here = here || e.Pos.Line == m.line || elsewhere(m, lines, e.Pos) != ""
		}
		if !here {
			t.Errorf("line %d, %s: no mistake is shown at the line\n%s\n%v", m.line, m.what, strings.Split(m.text, "\n")[m.line-1], err)
		}
	}
	t.Logf("%d mutations, %d of them harmless", len(all), accepted)
}
