package export

import (
	"fmt"
	"strings"

	"github.com/xuri/excelize/v2"

	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/results"
)

// A figureSheet is the sheet of a table.
type figureSheet struct {
	table   *results.Table
	plan    *plan.Plan
	name    string
	first   int    // row of the first bar, from 1
	plotted string // column of what the chart shows
	columns []figureColumn
}

// A figureColumn is a column of the table on a figure's sheet.
type figureColumn struct {
	id, title string
	width     float64
	cell      func(b *workbook, fs *figureSheet, row int, pt *results.Point) any
}

// chartRows is how many rows of 20 pixels the chart covers, above the table.
const chartRows = 23

// hasBaseline reports whether the chart sets numbers against others.
func (fs *figureSheet) hasBaseline() bool { return fs.table.Figure.As != plan.Absolute }

func (fs *figureSheet) label(axis, value string) string { return fs.plan.Label(axis, value) }

// rowLabel is the text of a group on the x-axis.
func (fs *figureSheet) rowLabel(row string) string {
	axes := fs.table.Figure.Rows
	if len(axes) == 1 {
		return fs.label(axes[0], row)
	}
	values := strings.Split(row, plan.RowSep)
	for i := range values {
		values[i] = fs.label(axes[i], values[i])
	}
	return strings.Join(values, plan.RowSep)
}

// plottedStyle is how what the chart shows is written in cells.
func (fs *figureSheet) plottedStyle(b *workbook) int {
	switch fs.table.Figure.As {
	case plan.Ratio:
		return b.style.ratio
	case plan.Degradation:
		return b.style.percent
	default:
		return b.style.number
	}
}

func (fs *figureSheet) title() string {
	if fs.table.Figure.Title != "" {
		return fs.table.Figure.Title
	}
	return fs.table.Figure.Name
}

// baselineName is "bm", or "orchestration=bm" where several axes are fixed.
func (fs *figureSheet) baselineName() string {
	base := fs.table.Figure.Baseline
	if len(base) == 1 {
		return fs.label(base[0].Name, base[0].Value)
	}
	var out []string
	for _, s := range base {
		out = append(out, s.Name+"="+s.Value)
	}
	return strings.Join(out, ", ")
}

// quantity is what the chart shows, with its unit.
func (fs *figureSheet) quantity() string {
	m := fs.table.Metric
	switch {
	case fs.table.Figure.YTitle != "":
		return fs.table.Figure.YTitle
	case fs.table.Figure.As == plan.Ratio:
		return m.Name + " relative to " + fs.baselineName()
	case fs.table.Figure.As == plan.Degradation:
		return m.Name + " / " + fs.baselineName() + " - 1"
	default:
		return m.Name + " (" + m.Unit + ")"
	}
}

// point is the n-th bar in the sheet's order: by column, then row, so that the bars of a series
// are one range.
func (fs *figureSheet) point(n int) *results.Point {
	rows := len(fs.table.Rows)
	return &fs.table.Points[n%rows][n/rows]
}

func (fs *figureSheet) bars() int { return len(fs.table.Rows) * len(fs.table.Columns) }

// column is the letter of a column, and its title for an absent one is never asked for.
func (fs *figureSheet) column(id string) string {
	for i := range fs.columns {
		if fs.columns[i].id == id {
			return columnName(i)
		}
	}
	return ""
}

// at is the address of a column in row, on the sheet itself.
func (fs *figureSheet) at(id string, row int) string { return fs.column(id) + fmt.Sprint(row) }

func (b *workbook) fillFigures() error {
	for i := range b.figures {
		fs := &b.figures[i]
		if err := b.fillFigure(fs); err != nil {
			return fmt.Errorf("sheet %s: %w", fs.name, err)
		}
	}
	return nil
}

func (b *workbook) fillFigure(fs *figureSheet) error {
	t := fs.table
	fs.columns = figureColumns(fs)
	fs.plotted = map[string]string{plan.Absolute: "median", plan.Ratio: "ratio", plan.Degradation: "degradation"}[t.Figure.As]
	s := &sheet{name: fs.name, height: map[int]float64{}}
	s.add(styled(b.style.title, fs.title()))
	s.add(b.caveatRow()...)
	s.add(fmt.Sprintf("%s; %s is better; study %s, run %s", fs.quantity(), t.Metric.Better, b.book.Run.Plan.Study, b.book.Run.ID))
	for range chartRows {
		s.height[s.add()] = 15 // 20 pixels, in every program
	}
	var head []any
	for _, c := range fs.columns {
		head = append(head, styled(b.style.head, c.title))
		s.widths = append(s.widths, c.width)
	}
	s.height[s.add(head...)] = 30 // two lines
	fs.first = len(s.rows) + 1
	for n := range fs.bars() {
		pt := fs.point(n)
		if err := b.agrees(t, pt); err != nil {
			return err
		}
		row := make([]any, len(fs.columns))
		for i, c := range fs.columns {
			row[i] = c.cell(b, fs, fs.first+n, pt)
		}
		s.add(row...)
	}
	b.addList(s, "Warnings", t.Warnings)
	b.addList(s, "Notes", t.Notes)
	if fs.bars() > 0 {
		s.last = func() error { return b.addChart(fs) }
	}
	return b.write(s, 0, nil)
}

func (b *workbook) addList(s *sheet, title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	s.add()
	s.add(styled(b.style.section, title))
	for _, l := range lines {
		s.add(l)
	}
}

// agrees makes sure that a formula over the observations of a cell sees the values of its sample.
func (b *workbook) agrees(t *results.Table, pt *results.Point) error {
	check := func(cell string, s *results.Sample) error {
		n := 0
		if r, ok := b.obs.ranges[cellMetric{b.cells[cell], t.Metric.Name}]; ok {
			n = r.last - r.first + 1
		}
		if n != s.N {
			return fmt.Errorf("cell %s: %d observations of %s, but %d values in the table", cell, n, t.Metric.Name, s.N)
		}
		return nil
	}
	if pt.Cell != "" {
		if err := check(pt.Cell, &pt.Sample); err != nil {
			return err
		}
	}
	if pt.Base != nil {
		return check(pt.BaseCell, pt.Base)
	}
	return nil
}

// rawRange is where the values of a cell and metric stand; ok is false if there are none.
func (b *workbook) rawRange(cell, metric, column string) (r string, first, last int, ok bool) {
	i, known := b.cells[cell]
	s, ok := b.obs.ranges[cellMetric{i, metric}]
	if !known || !ok {
		return "", 0, 0, false
	}
	first, last = b.rawRow(s.first), b.rawRow(s.last)
	return fmt.Sprintf("%s!$%s$%d:$%s$%d", rawSheet, column, first, column, last), first, last, true
}

// medianOf is the live median of a cell's values.
func (b *workbook) medianOf(cell, metric string, s *results.Sample) any {
	r, _, _, ok := b.rawRange(cell, metric, b.rawColumn("value"))
	if !ok || s.N == 0 {
		return nil
	}
	return formula("MEDIAN("+r+")", s.Center, b.style.number)
}

func figureColumns(fs *figureSheet) []figureColumn {
	t := fs.table
	if !fs.hasBaseline() {
		return append(append(absoluteColumns(t), errorColumns("median", "lo", "hi", func(pt *results.Point) (float64, float64, float64, bool) {
			return pt.Sample.Center, pt.Sample.Lo, pt.Sample.Hi, pt.Sample.Level > 0
		})...), lastColumns(t)...)
	}
	out := append(absoluteColumns(t),
		figureColumn{"base", "median of " + fs.baselineName(), 12, func(b *workbook, _ *figureSheet, _ int, pt *results.Point) any {
			if pt.Base == nil {
				return nil
			}
			return b.medianOf(pt.BaseCell, t.Metric.Name, pt.Base)
		}},
		figureColumn{"ratio", "ratio", 9, func(b *workbook, fs *figureSheet, row int, pt *results.Point) any {
			if !pt.HasRatio() {
				return nil
			}
			return formula(fs.at("median", row)+"/"+fs.at("base", row), pt.Ratio, b.style.ratio)
		}},
		optional("ratio_lo", "ratio lo (bootstrap)", 11, func(pt *results.Point) (float64, bool) { return pt.RatioLo, pt.RatioLevel > 0 }, ratioStyle),
		optional("ratio_hi", "ratio hi (bootstrap)", 11, func(pt *results.Point) (float64, bool) { return pt.RatioHi, pt.RatioLevel > 0 }, ratioStyle),
	)
	if t.Figure.As == plan.Degradation {
		out = append(out, figureColumn{"degradation", "ratio - 1", 9, func(b *workbook, fs *figureSheet, row int, pt *results.Point) any {
			if !pt.HasRatio() {
				return nil
			}
			return formula(fs.at("ratio", row)+"-1", pt.Ratio-1, b.style.percent)
		}})
	}
	out = append(out, errorColumns("ratio", "ratio_lo", "ratio_hi", func(pt *results.Point) (float64, float64, float64, bool) {
		return pt.Ratio, pt.RatioLo, pt.RatioHi, pt.RatioLevel > 0
	})...)
	return append(out, lastColumns(t)...)
}

func absoluteColumns(t *results.Table) []figureColumn {
	return []figureColumn{
		{"row", strings.Join(t.Figure.Rows, ", "), 15, func(_ *workbook, fs *figureSheet, _ int, pt *results.Point) any { return fs.rowLabel(pt.Row) }},
		{"column", t.Figure.Columns, 18, func(_ *workbook, fs *figureSheet, _ int, pt *results.Point) any {
			return fs.label(t.Figure.Columns, pt.Column)
		}},
		optional("n", "n", 5, func(pt *results.Point) (float64, bool) { return float64(pt.Sample.N), pt.Cell != "" }, nil),
		optional("missing", "missing", 8, func(pt *results.Point) (float64, bool) { return float64(pt.Sample.Missing), pt.Cell != "" }, nil),
		{"median", "median", 11, func(b *workbook, _ *figureSheet, _ int, pt *results.Point) any {
			return b.medianOf(pt.Cell, t.Metric.Name, &pt.Sample)
		}},
		optional("lo", "lo", 11, func(pt *results.Point) (float64, bool) { return pt.Sample.Lo, pt.Sample.Level > 0 }, numberStyle),
		optional("hi", "hi", 11, func(pt *results.Point) (float64, bool) { return pt.Sample.Hi, pt.Sample.Level > 0 }, numberStyle),
		optional("level", "level of lo..hi", 9, func(pt *results.Point) (float64, bool) { return pt.Sample.Level, pt.Sample.Level > 0 }, percentStyle),
		optional("mean", "mean", 11, func(pt *results.Point) (float64, bool) { return pt.Sample.Mean, pt.Sample.N > 0 }, numberStyle),
		{"mean_kind", "kind of mean", 11, func(_ *workbook, _ *figureSheet, _ int, pt *results.Point) any {
			if pt.Sample.N == 0 {
				return nil
			}
			return meanKind(&pt.Sample)
		}},
		optional("sd", "sd", 9, func(pt *results.Point) (float64, bool) { return pt.Sample.SD, pt.Sample.N > 1 }, numberStyle),
		{"unit", "unit", 10, func(*workbook, *figureSheet, int, *results.Point) any { return t.Metric.Unit }},
	}
}

// errorColumns are the lengths of the error bars.
func errorColumns(center, lo, hi string, of func(*results.Point) (c, lo, hi float64, ok bool)) []figureColumn {
	return []figureColumn{
		{"plus", "error bar up", 10, func(b *workbook, fs *figureSheet, row int, pt *results.Point) any {
			c, _, h, ok := of(pt)
			if !ok {
				return nil
			}
			return formula(fs.at(hi, row)+"-"+fs.at(center, row), h-c, b.style.ratio)
		}},
		{"minus", "error bar down", 10, func(b *workbook, fs *figureSheet, row int, pt *results.Point) any {
			c, l, _, ok := of(pt)
			if !ok {
				return nil
			}
			return formula(fs.at(center, row)+"-"+fs.at(lo, row), c-l, b.style.ratio)
		}},
	}
}

// refColumns are the numbers from elsewhere, where there are any.
func refColumns(t *results.Table) []figureColumn {
	var out []figureColumn
	if hasRef(t, func(r *results.Ref) bool { return true }) {
		out = append(out, optional("reference", "reference", 11, func(pt *results.Point) (float64, bool) {
			if pt.Ref == nil {
				return 0, false
			}
			return pt.Ref.Value, true
		}, numberStyle))
	}
	if hasRef(t, func(r *results.Ref) bool { return r.Ratio != 0 }) {
		out = append(out, optional("reference_ratio", "ratio in the reference", 11, func(pt *results.Point) (float64, bool) {
			if pt.Ref == nil {
				return 0, false
			}
			return pt.Ref.Ratio, pt.Ref.Ratio != 0
		}, ratioStyle))
	}
	return out
}

func hasRef(t *results.Table, fits func(*results.Ref) bool) bool {
	for _, row := range t.Points {
		for i := range row {
			if r := row[i].Ref; r != nil && fits(r) {
				return true
			}
		}
	}
	return false
}

func lastColumns(t *results.Table) []figureColumn {
	return append(refColumns(t), []figureColumn{
		{"raw", "values", 14, func(b *workbook, _ *figureSheet, _ int, pt *results.Point) any {
			_, first, last, ok := b.rawRange(pt.Cell, t.Metric.Name, "A")
			if !ok {
				return nil
			}
			return link(fmt.Sprintf("#%s!A%d:%s%d", rawSheet, first, columnName(len(b.obs.header)-1), last), fmt.Sprintf("%s %d-%d", rawSheet, first, last), b.style.link)
		}},
		{"cell", "cell", 52, func(_ *workbook, _ *figureSheet, _ int, pt *results.Point) any { return orNil(pt.Cell) }},
		{"note", "note", 40, func(_ *workbook, _ *figureSheet, _ int, pt *results.Point) any { return orNil(pt.Note) }},
	}...)
}

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func ratioStyle(s *styles) int   { return s.ratio }
func numberStyle(s *styles) int  { return s.number }
func percentStyle(s *styles) int { return s.percent }

// optional is a column of numbers that were computed; it is empty where there is none.
func optional(id, title string, width float64, of func(*results.Point) (float64, bool), style func(*styles) int) figureColumn {
	return figureColumn{id, title, width, func(b *workbook, _ *figureSheet, _ int, pt *results.Point) any {
		v, ok := of(pt)
		if !ok {
			return nil
		}
		n := 0
		if style != nil {
			n = style(&b.style)
		}
		return excelize.Cell{StyleID: n, Value: v}
	}}
}
