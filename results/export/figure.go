package export

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/xuri/excelize/v2"

	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/results"
)

// figure is a table with the place it has in the workbook.
type figure struct {
	t     *results.Table
	n     int // of its chart, from 1
	sheet string
	// Rows and columns of the block that the chart draws, from 1 and 0: rows x columns of values,
	// then the same of what lies above and below them for the error bars.
	firstRow int
}

func (fig *figure) ratios() bool { return len(fig.t.Figure.Baseline) > 0 }

func (fig *figure) title() string { return cmp.Or(fig.t.Figure.Title, fig.t.Figure.Name) }

// valueTitle says what the bars are.
func (fig *figure) valueTitle() string {
	unit := fig.t.Metric.Unit
	if !fig.ratios() {
		return "median " + fig.t.Metric.Name + ", " + unit
	}
	base := ""
	for i, s := range fig.t.Figure.Baseline {
		if i > 0 {
			base += ", "
		}
		base += s.Value
	}
	return "median " + fig.t.Metric.Name + " relative to " + base + " (labels: " + unit + ")"
}

// value is the height of a bar.
func (fig *figure) value(pt *results.Point) (float64, bool) {
	if fig.ratios() {
		return pt.Ratio, hasRatio(pt)
	}
	return pt.Sample.Center, pt.Sample.N > 0
}

// bounds is the interval of a bar, if there is one.
func (fig *figure) bounds(pt *results.Point) (lo, hi float64, ok bool) {
	if fig.ratios() {
		return pt.RatioLo, pt.RatioHi, pt.RatioLevel > 0 && hasRatio(pt)
	}
	return pt.Sample.Lo, pt.Sample.Hi, pt.Sample.Level > 0
}

// Columns of the long table.
var figureHeader = []string{
	"row", "column", "n", "missing", "median", "lower", "upper", "baseline median", "ratio", "ratio lower", "ratio upper", "values", "note",
}

const (
	colMedian = 4
	colBase   = 7
	colRatio  = 8
)

func (b *workbook) figureSheets() error {
	for _, fig := range b.figures {
		if err := b.figureSheet(fig); err != nil {
			return err
		}
	}
	return nil
}

func (b *workbook) figureSheet(fig *figure) error {
	t := fig.t
	s := &sheet{name: fig.sheet, widths: []float64{18, 18, 8, 9, 13, 13, 13, 16, 10, 12, 12, 14, 60}}
	b.top(s, fig.title())
	s.add(fig.valueTitle() + "; interval: 95 % where there are 6 values or more (see Notes)")
	s.add()
	head := make([]any, len(figureHeader))
	for i, h := range figureHeader {
		head[i] = styled(b.s.head, h)
	}
	s.add(head...)
	at := map[string]int{} // bar -> its row in the long table
	for i := range t.Rows {
		for k := range t.Columns {
			pt := &t.Points[i][k]
			at[pt.Row+"\x00"+pt.Column] = len(s.rows) + 1
			s.add(b.bar(fig, pt, len(s.rows)+1)...)
		}
	}
	s.add()
	b.block(fig, s, at)
	s.add()
	chartRow := len(s.rows) + 1
	const chartRows = 26 // of 17 to 20 pixels, depending on the program
	for range chartRows {
		s.add()
	}
	for _, n := range slices.Concat(t.Warnings, t.Notes) {
		s.add(n)
	}
	// Before the stream is flushed: afterwards the sheet takes no reference to a drawing.
	return b.write(s, func(_ *excelize.StreamWriter, row int) (int, error) { return row, b.chart(fig, chartRow) }, 0)
}

// bar is a row of the long table: medians and ratios are formulas over the sheet Raw.
func (b *workbook) bar(fig *figure, pt *results.Point, row int) []any {
	cells := make([]any, len(figureHeader))
	cells[0], cells[1], cells[12] = pt.Row, pt.Column, pt.Note
	if pt.Cell == "" {
		return cells
	}
	cells[2], cells[3] = pt.Sample.N, pt.Sample.Missing
	if f, ok := b.median(pt.Cell, fig.t.Metric.Name); ok && pt.Sample.N > 0 {
		cells[colMedian] = formula(f, pt.Sample.Center, b.s.number)
	}
	if pt.Sample.Level > 0 {
		cells[5], cells[6] = excelize.Cell{StyleID: b.s.number, Value: pt.Sample.Lo}, excelize.Cell{StyleID: b.s.number, Value: pt.Sample.Hi}
	}
	if f, ok := b.median(pt.BaseCell, fig.t.Metric.Name); ok && pt.Base != nil && pt.Base.N > 0 {
		cells[colBase] = formula(f, pt.Base.Center, b.s.number)
	}
	if hasRatio(pt) {
		cells[colRatio] = formula(fmt.Sprintf("%s%d/%s%d", columnName(colMedian), row, columnName(colBase), row), pt.Ratio, b.s.ratio)
	}
	if pt.RatioLevel > 0 {
		cells[9], cells[10] = excelize.Cell{StyleID: b.s.ratio, Value: pt.RatioLo}, excelize.Cell{StyleID: b.s.ratio, Value: pt.RatioHi}
	}
	if r, ok := b.rawRange(pt.Cell, fig.t.Metric.Name); ok {
		cells[11] = link("#"+r, "values", b.s.link)
	}
	return cells
}

// rawRange is where the values of a cell and metric stand in the sheet Raw.
func (b *workbook) rawRange(cell, metric string) (string, bool) {
	cells := b.book.Run.Plan.Cells
	i := slices.IndexFunc(cells, func(c plan.Cell) bool { return c.Name == cell })
	sp, ok := b.o.ranges[cellMetric{i, metric}]
	if i < 0 || !ok {
		return "", false
	}
	col := columnName(slices.Index(b.o.header, "value"))
	return fmt.Sprintf("%s!$%s$%d:$%s$%d", sheetRaw, col, rawHeader+1+sp.first, col, rawHeader+1+sp.last), true
}

func (b *workbook) median(cell, metric string) (string, bool) {
	r, ok := b.rawRange(cell, metric)
	return "MEDIAN(" + r + ")", ok
}

// block adds what the chart draws: a matrix of values that refer to the long table, and the
// lengths of the error bars above and below.
func (b *workbook) block(fig *figure, s *sheet, at map[string]int) {
	t := fig.t
	n := len(t.Columns)
	head := []any{styled(b.s.head, "chart: "+t.Figure.Rows)}
	for _, suffix := range []string{"", " +", " -"} {
		for _, c := range t.Columns {
			head = append(head, styled(b.s.head, c+suffix))
		}
	}
	fig.firstRow = s.add(head...) + 1
	col, style := columnName(colMedian), b.s.number
	if fig.ratios() {
		col, style = columnName(colRatio), b.s.ratio
	}
	for i, row := range t.Rows {
		cells := make([]any, 1+3*n)
		cells[0] = row
		for k := range t.Columns {
			pt := &t.Points[i][k]
			v, ok := fig.value(pt)
			if !ok {
				continue
			}
			cells[1+k] = formula(fmt.Sprintf("%s%d", col, at[pt.Row+"\x00"+pt.Column]), v, style)
			if lo, hi, ok := fig.bounds(pt); ok {
				cells[1+n+k] = excelize.Cell{StyleID: style, Value: hi - v}
				cells[1+2*n+k] = excelize.Cell{StyleID: style, Value: v - lo}
			}
		}
		s.add(cells...)
	}
}
