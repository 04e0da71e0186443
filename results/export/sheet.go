package export

import (
	"fmt"
	"math"
	"net/url"
	"strings"

	"github.com/xuri/excelize/v2"
)

// Limits of the file format.
const (
	maxRows      = 1_048_576
	maxCellUnits = 32_767 // UTF-16 units of a cell's text
	maxLiteral   = 255    // characters of a text in a formula, and of a link
	maxSheetName = 31
)

// cutMark ends a text that was too long for a cell.
const cutMark = " [cut: see the CSV file]"

// styles are the formats of cells, as excelize numbers them.
type styles struct {
	title, caveat, head, section, link, ratio, percent, wrap, number int
}

func newStyles(f *excelize.File) (s styles, err error) {
	solid := func(color string) excelize.Fill {
		return excelize.Fill{Type: "pattern", Pattern: 1, Color: []string{color}}
	}
	three, general := "0.000", "#,##0.00"
	top := &excelize.Alignment{Vertical: "top", WrapText: true}
	font := func(f excelize.Font) *excelize.Font {
		f.Family = "Calibri" // as the cells without a style
		return &f
	}
	for _, x := range []struct {
		to    *int
		style excelize.Style
	}{
		{&s.title, excelize.Style{Font: font(excelize.Font{Bold: true, Size: 16})}},
		{&s.caveat, excelize.Style{Font: font(excelize.Font{Bold: true, Size: 13, Color: "9C0006"}), Fill: solid("FFC7CE")}},
		{&s.head, excelize.Style{Font: font(excelize.Font{Bold: true}), Fill: solid("D9E1F2"), Border: []excelize.Border{{Type: "bottom", Color: "8EA9DB", Style: 1}}, Alignment: top}},
		{&s.section, excelize.Style{Font: font(excelize.Font{Bold: true, Size: 12})}},
		{&s.link, excelize.Style{Font: font(excelize.Font{Color: "0563C1", Underline: "single"})}},
		{&s.ratio, excelize.Style{CustomNumFmt: &three}},
		{&s.percent, excelize.Style{NumFmt: 10}},
		{&s.wrap, excelize.Style{Alignment: top}},
		{&s.number, excelize.Style{CustomNumFmt: &general}},
	} {
		if *x.to, err = f.NewStyle(&x.style); err != nil {
			return s, err
		}
	}
	return s, nil
}

// A sheet is rows to be written. A row is made of string, float64, int, nil, and excelize.Cell
// with those.
type sheet struct {
	name   string
	widths []float64       // of the columns, in characters
	frozen int             // rows that stay on top
	height map[int]float64 // of rows, in points, where not left to the program that shows them
	filter string          // range with filter buttons
	rows   [][]any
	last   func() error // called when all rows are written: after that the sheet takes no drawing
}

func (s *sheet) add(cells ...any) int { // returns the row's number, from 1
	s.rows = append(s.rows, cells)
	return len(s.rows)
}

// write writes the sheet through excelize's stream: it alone stores a numeric cached value beside
// a formula. After the sheet's rows come count more, each made by next into the slice it is given.
func (b *workbook) write(s *sheet, count int, next func(i int, buf []any) []any) error {
	rows, columns := len(s.rows)+count, 1
	for _, r := range s.rows {
		columns = max(columns, len(r))
	}
	columns = max(columns, len(s.widths))
	if rows > maxRows {
		return fmt.Errorf("sheet %s: %d rows do not fit, a sheet has %d: use the CSV files", s.name, rows, maxRows)
	}
	corner, err := excelize.CoordinatesToCellName(columns, max(rows, 1))
	if err != nil {
		return err
	}
	// Before the stream: after it this has no effect, and readers that trust it see one row.
	if err := b.f.SetSheetDimension(s.name, "A1:"+corner); err != nil {
		return err
	}
	if s.filter != "" { // before the properties, which it would replace
		if err := b.f.AutoFilter(s.name, s.filter, nil); err != nil {
			return err
		}
	}
	landscape, a4, width, height, fit := "landscape", 9, 1, 0, true
	if err := b.f.SetPageLayout(s.name, &excelize.PageLayoutOptions{Orientation: &landscape, Size: &a4, FitToWidth: &width, FitToHeight: &height}); err != nil {
		return err
	}
	if err := b.f.SetSheetProps(s.name, &excelize.SheetPropsOptions{FitToPage: &fit}); err != nil {
		return err
	}
	w, err := b.f.NewStreamWriter(s.name)
	if err != nil {
		return err
	}
	for i, wd := range s.widths {
		if wd > 0 {
			if err := w.SetColWidth(i+1, i+1, wd); err != nil {
				return err
			}
		}
	}
	if s.frozen > 0 {
		under := fmt.Sprintf("A%d", s.frozen+1)
		if err := w.SetPanes(&excelize.Panes{Freeze: true, YSplit: s.frozen, TopLeftCell: under, ActivePane: "bottomLeft",
			Selection: []excelize.Selection{{SQRef: under, ActiveCell: under, Pane: "bottomLeft"}}}); err != nil {
			return err
		}
	}
	row := 0
	for _, r := range s.rows {
		row++
		if err := setRow(w, row, s.height[row], r); err != nil {
			return err
		}
	}
	var buf []any
	for i := range count {
		buf = next(i, buf[:0])
		if err := setRow(w, row+1+i, 0, buf); err != nil {
			return err
		}
	}
	if s.last != nil {
		if err := s.last(); err != nil {
			return err
		}
	}
	return w.Flush()
}

func setRow(w *excelize.StreamWriter, row int, height float64, cells []any) error {
	if len(cells) == 0 && height == 0 {
		return nil
	}
	at, err := excelize.CoordinatesToCellName(1, row)
	if err != nil {
		return err
	}
	for i, c := range cells {
		cells[i] = clean(c)
	}
	return w.SetRow(at, cells, excelize.RowOpts{Height: height})
}

// clean makes a cell fit for the file: text is valid and short enough, numbers are finite.
func clean(c any) any {
	switch v := c.(type) {
	case string:
		if v == "" {
			return nil // an empty cell, not one with an empty text
		}
		return fitCell(v)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil
		}
	case excelize.Cell:
		v.Value = clean(v.Value)
		return v
	}
	return c
}

// fitCell cuts a text to what a cell holds, and says so in it.
func fitCell(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= maxCellUnits { // never fewer bytes than units
		return s
	}
	if short := cutUTF16(s, maxCellUnits); len(short) == len(s) {
		return s
	}
	return cutUTF16(s, maxCellUnits-len(cutMark)) + cutMark
}

// cellOf turns a field into a cell; text never becomes a formula.
func cellOf(v value, style int) any {
	var content any
	switch v.kind {
	case isText:
		content = v.text
	case isNumber:
		content = v.number
	case nothing:
		return nil
	}
	if style == 0 {
		return content
	}
	return excelize.Cell{StyleID: style, Value: content}
}

// styled gives text a style.
func styled(style int, s string) excelize.Cell { return excelize.Cell{StyleID: style, Value: s} }

// formula is a number that Excel calculates, with the value that readers without a calculator
// see. The caller makes sure that cached is finite.
func formula(f string, cached float64, style int) excelize.Cell {
	return excelize.Cell{StyleID: style, Formula: f, Value: cached}
}

// link is a cell that leads to target and shows label. A link that Excel would refuse for its
// length is text only.
func link(target, label string, style int) any {
	if label = fitCell(label); len(target) > maxLiteral || len(label) > maxLiteral || target == "" {
		return label
	}
	return excelize.Cell{StyleID: style, Formula: "HYPERLINK(" + literal(target) + "," + literal(label) + ")", Value: label}
}

// literal writes a text as a formula has it.
func literal(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// logLink is the address of a file of the run folder as seen from results/. It is empty for
// anything that would lead out of the run folder.
func logLink(name string) string {
	if name == "" || strings.HasPrefix(name, "/") || strings.Contains("/"+name+"/", "/../") {
		return ""
	}
	u := url.URL{Path: "../" + name}
	return strings.ReplaceAll(u.EscapedPath(), "'", "%27")
}

// quoteSheet writes the name of a sheet as references have it.
func quoteSheet(name string) string { return "'" + strings.ReplaceAll(name, "'", "''") + "'" }

// columnName is A, B, ... of a column counted from 0.
func columnName(i int) string {
	n, err := excelize.ColumnNumberToName(i + 1)
	if err != nil {
		return "" // not reached: no table here has 16,384 columns
	}
	return n
}

// sheetName makes a name legal: none of []:*?/\, no apostrophe at the ends, not empty.
func sheetName(s string) string {
	s = strings.Map(func(r rune) rune {
		if strings.ContainsRune(`[]:*?/\`, r) || r < ' ' {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(s, "_"))
	if s = strings.Trim(s, "' "); s == "" {
		s = "figure"
	}
	return s
}
