package export

import (
	"fmt"
	"strings"

	"github.com/xuri/excelize/v2"

	"dlx.dev/dlx/executor/journal"
)

// fillSummary writes the first page.
func (b *workbook) fillSummary() error {
	r := b.book.Run
	p := r.Plan
	s := &sheet{name: summarySheet, widths: []float64{26, 18, 18, 18, 18, 18, 18, 18}}
	s.add(styled(b.style.title, b.title()))
	s.add(b.caveatRow()...)
	s.add("study", p.Study)
	s.add("run", r.ID)
	s.add("testbed", p.Testbed)
	done, failed, missing := 0, 0, 0
	for i := range r.Trials {
		switch r.Trials[i].State {
		case journal.Done:
			done++
		case journal.Failed:
			failed++
		default:
			missing++
		}
	}
	s.add("cells", len(p.Cells))
	s.add("trials done", done)
	s.add("trials failed", failed)
	s.add("trials missing", missing)
	s.add("observations", len(b.obs.rows))
	b.addList(s, "Warnings of method", b.book.Warnings)
	for i := range b.figures {
		b.addShort(s, &b.figures[i])
	}
	s.add()
	s.add(styled(b.style.section, "Sheets"))
	for _, n := range []string{rawSheet, planSheet, provenanceSheet, notesSheet} {
		s.add(link("#"+n+"!A1", n, b.style.link))
	}
	return b.write(s, 0, nil)
}

// addShort adds what the chart of a figure shows, as references to its sheet.
func (b *workbook) addShort(s *sheet, fs *figureSheet) {
	t := fs.table
	s.add()
	s.add(link("#"+quoteSheet(fs.name)+"!A1", fs.title(), b.style.link), fs.quantity())
	head := []any{styled(b.style.head, strings.Join(t.Figure.Rows, ", "))}
	for _, c := range t.Columns {
		head = append(head, styled(b.style.head, fs.label(t.Figure.Columns, c)))
	}
	s.add(head...)
	for r, row := range t.Rows {
		line := []any{fs.rowLabel(row)}
		for c := range t.Columns {
			line = append(line, b.plottedRef(fs, c*len(t.Rows)+r))
		}
		s.add(line...)
	}
	if n := len(t.Notes) + len(t.Warnings); n > 0 {
		s.add(fmt.Sprintf("notes and warnings on the figure's sheet: %d", n))
	}
}

// plottedRef refers to the number that the chart shows for the n-th bar; nil where it shows none.
func (b *workbook) plottedRef(fs *figureSheet, n int) any {
	v, ok := fs.plottedValue(n)
	if !ok {
		return nil
	}
	return excelize.Cell{StyleID: fs.plottedStyle(b), Formula: quoteSheet(fs.name) + "!" + fs.at(fs.plotted, fs.first+n), Value: v}
}

// plottedValue is the height of the n-th bar.
func (fs *figureSheet) plottedValue(n int) (v float64, ok bool) {
	v, _, _, _, ok = fs.point(n).Shown(fs.table.Figure.As)
	return v, ok
}
