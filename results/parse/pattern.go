package parse

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
)

// readPatterns reads the metrics of a command: for each pattern the last line of the standard
// output that matches, in the first role that exits.
func readPatterns(t *Trial) (Reading, error) {
	var r Reading
	for i := range t.Procs {
		p := &t.Procs[i]
		if finishOf(t.Cell, p.Role) != plan.Exits {
			continue
		}
		for _, pat := range t.Workload.Patterns {
			if pat.Metric == Elapsed {
				continue
			}
			o, skipped, err := t.lastMatch(p, pat)
			if err != nil {
				return r, err
			}
			if skipped > 0 {
				r.Warnings = []string{skippedText(skipped)} // of the same file for every pattern
			}
			r.Observations = append(r.Observations, o)
		}
		return r, nil
	}
	return r, nil
}

// steadyPatterns: a command is steady once it has printed a line that one of its patterns reads, or
// any line where it has none.
func steadyPatterns(w *plan.Workload, output []byte) bool {
	all := wholeLines(output)
	if len(w.Patterns) == 0 {
		return len(all) > 1 // the last is what follows the last line end
	}
	for _, p := range w.Patterns {
		re, err := regexp.Compile(p.Line)
		if err == nil && slices.ContainsFunc(all, re.MatchString) {
			return true
		}
	}
	return false
}

// lastMatch also counts the lines that were too long to be looked at.
func (t *Trial) lastMatch(p *journal.Proc, pat plan.Pattern) (o journal.Observation, skipped int, err error) {
	o = journal.Observation{Metric: pat.Metric, Role: p.Role, Index: p.Index, How: "last match"}
	re, err := regexp.Compile(pat.Line)
	if err != nil {
		return o, 0, fmt.Errorf("pattern of %s: %w", pat.Metric, err)
	}
	group := re.SubexpIndex("v")
	if group < 0 {
		return o, 0, fmt.Errorf("pattern of %s: no group named v", pat.Metric)
	}
	f, name, err := t.open(p, backends.Stdout)
	if err != nil {
		return o, 0, err
	}
	defer f.Close()
	var bad error
	if skipped, err = lines(f, func(n int, line string) {
		m := re.FindStringSubmatch(line)
		if m == nil {
			return
		}
		v, err := strconv.ParseFloat(m[group], 64)
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
			bad = fmt.Errorf("%s: line %d: %s is %q, which is no number", name, n, pat.Metric, cut(m[group]))
			return
		}
		bad = nil
		o.Value, o.File, o.Line, o.Text = v, name, n, cut(line)
	}); err != nil {
		return o, skipped, fmt.Errorf("%s: %w", name, err)
	}
	if bad != nil {
		return o, skipped, bad
	}
	if o.Line == 0 {
		return o, skipped, fmt.Errorf("%s: no line matches the pattern of %s", name, pat.Metric)
	}
	return o, skipped, nil
}
