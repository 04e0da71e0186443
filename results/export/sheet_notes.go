package export

import (
	"slices"

	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
)

// method says how the numbers of the tables were made.
func method() []string {
	return []string{
		"median: of the values of a cell's trials that are done; the formula reads them from the sheet Raw.",
		"lo, hi: rank confidence interval of the median, symmetric in ranks; level is its exact confidence, at least 95 %. Below 6 values there is none.",
		"mean: harmonic for rates, since equal amounts of work were timed; arithmetic otherwise.",
		"sd: standard deviation with n-1, around the arithmetic mean.",
		"ratio: median of the cell / median of its baseline cell, both live.",
		"ratio lo: " + ratioMethod() + ". It counts the doubt of both sides.",
		"Bars without a number are left out, never drawn as 0. Bars without an interval have no error bar.",
		guardNote,
	}
}

// fillNotes writes what a reader of the numbers has to know: what is not in them, and why.
func (b *workbook) fillNotes() error {
	r := b.book.Run
	s := &sheet{name: notesSheet, widths: []float64{60, 14, 12, 10, 80}}
	s.add(styled(b.style.title, "Notes"))
	s.add(b.caveatRow()...)
	s.add(styled(b.style.section, "Method"))
	for _, l := range method() {
		s.add(l)
	}
	b.addList(s, "Warnings of method", b.book.Warnings)
	section := func(title string, columns ...string) {
		s.add()
		s.add(styled(b.style.section, title))
		var head []any
		for _, c := range columns {
			head = append(head, styled(b.style.head, c))
		}
		s.add(head...)
	}
	section("Excluded cells", "cell", "reason")
	for _, x := range r.Plan.Excluded {
		s.add(x.Cell, x.Reason)
	}
	section("Trials without numbers", "trial", "state", "class", "attempts", "error")
	for i := range r.Trials {
		if t := &r.Trials[i]; t.State != journal.Done {
			s.add(plan.TrialID(r.Plan.Cells[t.Cell].Name, t.Repeat), stateOf(t), orNil(t.Class), t.Attempts, orNil(t.Error))
		}
	}
	section("Doubts about trials that count", "trial", "doubt")
	for i := range r.Trials {
		t := &r.Trials[i]
		for _, w := range slices.Compact(slices.Sorted(slices.Values(t.Warnings))) {
			s.add(plan.TrialID(r.Plan.Cells[t.Cell].Name, t.Repeat), w)
		}
	}
	section("Objects that may still exist in a cloud", "object")
	for _, o := range r.Left {
		s.add(o)
	}
	return b.write(s, 0, nil)
}
