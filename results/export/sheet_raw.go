package export

import (
	"fmt"
	"slices"

	"dlx.dev/dlx/executor/journal"
	"dlx.dev/dlx/results"
)

// rawFirst is the row of the first observation.
const rawFirst = 2

// rawRow is the row of an observation, counted from 0.
func (b *workbook) rawRow(i int) int { return rawFirst + i }

// rawColumn is the letter of a fixed column.
func (b *workbook) rawColumn(name string) string {
	i := len(columnsBefore) + len(b.obs.axes) + slices.Index(columnsAfter, name)
	return columnName(i)
}

// fillRaw writes the observations, the same rows as in the CSV file. Each leads to its log.
func (b *workbook) fillRaw() error {
	s := &sheet{name: rawSheet, frozen: 1}
	var head []any
	wide := map[string]float64{"trial": 44, "file": 44, "text": 60, "how": 24, "run": 18, "value": 12, "metric": 12, "unit": 10, "machine": 22, "host": 16, "orchestration": 17, "model": 14}
	fileAt := 0
	for i, h := range b.obs.header {
		head = append(head, styled(b.style.head, h))
		s.widths = append(s.widths, max(wide[h], 10))
		if h == "file" {
			fileAt = i // the last of that name: axes come before
		}
	}
	s.add(head...)
	s.filter = fmt.Sprintf("A1:%s%d", columnName(len(b.obs.header)-1), max(1, len(b.obs.rows))+1)
	var values []value
	return b.write(s, len(b.obs.rows), func(i int, buf []any) []any {
		values = b.obs.row(i, values[:0])
		for c, v := range values {
			if c == fileAt && v.kind == isText {
				buf = append(buf, link(logLink(v.text), v.text, b.style.link))
				continue
			}
			buf = append(buf, cellOf(v, 0))
		}
		return buf
	})
}

// files lists what the trials left behind, once each, by trial.
func files(r *results.Run) []journal.FileSum {
	var out []journal.FileSum
	for i := range r.Trials {
		for _, p := range r.Trials[i].Procs {
			out = append(out, p.Files...)
		}
	}
	return out
}
