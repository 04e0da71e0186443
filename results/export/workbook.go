package export

import (
	"fmt"
	"io"
	"time"

	"github.com/xuri/excelize/v2"

	"dlx.dev/dlx/results"
)

// A workbook is an Excel file in the making.
type workbook struct {
	f       *excelize.File
	book    *results.Book
	obs     *observations
	style   styles
	pack    *packer
	cells   map[string]int // name of a cell -> index
	figures []figureSheet  // one for each table of the book
	charts  int
}

// Names of the sheets that every workbook has.
const (
	summarySheet    = "Summary"
	rawSheet        = "Raw"
	planSheet       = "Plan"
	provenanceSheet = "Provenance"
	notesSheet      = "Notes"
)

// writeWorkbook writes the book as an Excel file: a summary, a sheet for each figure with its
// table and chart, all observations, the plan, where everything comes from, and notes.
func writeWorkbook(w io.Writer, book *results.Book, obs *observations) (err error) {
	b := &workbook{f: excelize.NewFile(), book: book, obs: obs, pack: newPacker(), cells: map[string]int{}}
	defer func() {
		if cerr := b.f.Close(); err == nil {
			err = cerr
		}
	}()
	for i := range book.Run.Plan.Cells {
		b.cells[book.Run.Plan.Cells[i].Name] = i
	}
	if b.style, err = newStyles(b.f); err != nil {
		return err
	}
	if err := b.makeSheets(); err != nil {
		return err
	}
	for _, fill := range []func() error{b.fillFigures, b.fillSummary, b.fillRaw, b.fillPlan, b.fillProvenance, b.fillNotes, b.properties} {
		if err := fill(); err != nil {
			return err
		}
	}
	b.f.SetZipWriter(func(io.Writer) excelize.ZipWriter { return b.pack })
	if err := b.f.Write(io.Discard); err != nil {
		return err
	}
	return b.pack.writeTo(w)
}

// makeSheets makes all sheets, empty, in the order of their tabs.
func (b *workbook) makeSheets() error {
	taken := names{max: maxSheetName}
	for _, n := range []string{summarySheet, rawSheet, planSheet, provenanceSheet, notesSheet, "History"} { // Excel keeps the last for itself
		taken.reserve(n)
	}
	order := []string{}
	for i := range b.book.Tables {
		t := &b.book.Tables[i]
		fs := figureSheet{table: t, plan: b.book.Run.Plan, name: taken.unique(sheetName(t.Figure.Name), "")}
		b.figures = append(b.figures, fs)
		order = append(order, fs.name)
	}
	if err := b.f.SetSheetName("Sheet1", summarySheet); err != nil {
		return err
	}
	for _, n := range append(order, rawSheet, planSheet, provenanceSheet, notesSheet) {
		if _, err := b.f.NewSheet(n); err != nil {
			return fmt.Errorf("sheet %s: %w", n, err)
		}
	}
	return nil
}

// properties of the file come from the journal: the file has no clock of its own.
func (b *workbook) properties() error {
	at := b.book.Run.Ended
	if at.IsZero() {
		at = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC) // the first date that a zip archive knows
	}
	stamp := at.UTC().Format(time.RFC3339)
	full := true
	if err := b.f.SetCalcProps(&excelize.CalcPropsOptions{FullCalcOnLoad: &full}); err != nil {
		return err
	}
	return b.f.SetDocProps(&excelize.DocProperties{
		Created: stamp, Modified: stamp, Creator: "dlx", LastModifiedBy: "dlx",
		Title: fitCell(b.title()), Description: caveats[b.book.Run.Plan.Caveat],
	})
}

// title is the study's, or its name.
func (b *workbook) title() string {
	if t := b.book.Run.Plan.Title; t != "" {
		return t
	}
	return b.book.Run.Plan.Study
}

// caveatColumns are coloured behind the caveat.
const caveatColumns = 12

// caveatRow is the line that stands on every page on which numbers stand.
func (b *workbook) caveatRow() []any {
	c := caveats[b.book.Run.Plan.Caveat]
	if c == "" {
		return nil
	}
	row := []any{styled(b.style.caveat, c)}
	for range caveatColumns - 1 { // the text runs over these
		row = append(row, styled(b.style.caveat, ""))
	}
	return row
}
