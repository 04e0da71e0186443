// Package mutate spoils studies, line by line, for tests that want each mistake explained at its
// line.
package mutate

import (
	"fmt"
	"regexp"
	"strings"
)

// A Mutation is a study with one thing spoilt in one line.
type Mutation struct {
	What string // "field metric misspelt"
	Line int    // from 1
	Text string // of the whole file
}

var (
	fieldName = regexp.MustCompile(`([A-Za-z_][A-Za-z0-9_]*):`)
	number    = regexp.MustCompile(`: +([0-9]+)`)
	quoted    = regexp.MustCompile(`"([a-z0-9-]+)"`)
)

// All spoils each field name, number, string and bracket of a study in turn, from its line
// "study:" on. Comments stay.
func All(text string) []Mutation {
	var out []Mutation
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
			out = append(out, Mutation{what, i + 1, strings.Join(m, "\n")})
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
