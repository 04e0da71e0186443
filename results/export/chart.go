package export

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/xuri/excelize/v2"

	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/results"
)

// palette is that of Okabe and Ito (2008), which readers with any colour vision can tell apart;
// in the order in which neighbours differ most in print.
var palette = []string{"0072B2", "E69F00", "009E73", "CC79A7", "56B4E9", "D55E00", "F0E442", "000000"}

// Size of a chart in pixels, as excelize takes them: it turns them into the cell of the lower
// right corner as if all columns were 64 and all rows 18 pixels.
const (
	chartWidth  = 64 * 17
	chartHeight = 18 * (chartRows - 1)
)

// manyBars is the number of bars from which labels stand upright, so that they do not overlap.
const manyBars = 24

// addChart draws a figure: clustered columns, a series for each column of the table. excelize
// makes the drawing and all that refers to it; the chart itself is ours, since excelize knows
// neither error bars nor labels with a text of their own, and leaves out the values that viewers
// without a calculator show.
func (b *workbook) addChart(fs *figureSheet) error {
	err := b.f.AddChart(fs.name, "A4", &excelize.Chart{
		Type:      excelize.Col,
		Series:    []excelize.ChartSeries{{Values: fs.ref(fs.plotted, 0)}},
		Dimension: excelize.ChartDimension{Width: chartWidth, Height: chartHeight},
		Format:    excelize.GraphicOptions{AltText: fs.title() + ": " + fs.quantity()},
	})
	if err != nil {
		return err
	}
	b.charts++ // as excelize numbers them
	xml, err := marshalChart(b.chartOf(fs))
	if err != nil {
		return err
	}
	b.pack.replace["xl/charts/chart"+strconv.Itoa(b.charts)+".xml"] = xml
	return nil
}

// ref is the range of a column over the bars of a series.
func (fs *figureSheet) ref(id string, series int) string {
	rows := len(fs.table.Rows)
	first := fs.first + series*rows
	c := fs.column(id)
	return fmt.Sprintf("%s!$%s$%d:$%s$%d", quoteSheet(fs.name), c, first, c, first+rows-1)
}

func (b *workbook) chartOf(fs *figureSheet) *xmlChartSpace {
	t := fs.table
	rows := len(t.Rows)
	title := fs.title()
	if c := b.book.Run.Plan.Caveat; c != "" { // charts are copied out of workbooks
		title += " [" + caveatMark(c) + "]"
	}
	chart := newChart(title, cmp.Or(t.Figure.XTitle, strings.Join(t.Figure.Rows, ", ")), fs.quantity())
	if t.Figure.As == plan.Degradation {
		chart.Chart.PlotArea.ValAx.NumFmt.Code = "0%"
	}
	lowest := 0.0
	categories := make([]string, rows)
	for i, row := range t.Rows {
		categories[i] = fs.rowLabel(row)
	}
	for c, name := range t.Columns {
		head := fs.first + c*rows
		s := xmlSeries{
			Idx: val(c), Order: val(c),
			Tx:     xmlSeriesText{StrRef: strRef(fmt.Sprintf("%s!$%s$%d", quoteSheet(fs.name), fs.column("column"), head), []string{fs.label(t.Figure.Columns, name)})},
			SpPr:   solidShape(palette[c%len(palette)]),
			Invert: val(0),
			Cat:    xmlCategories{StrRef: strRef(fs.ref("row", c), categories)},
			Values: xmlValues{NumRef: xmlNumRef{F: fs.ref(fs.plotted, c)}},
		}
		s.Values.NumRef.Cache.Count = val(rows)
		plus, minus := &xmlNumRef{F: fs.ref("plus", c)}, &xmlNumRef{F: fs.ref("minus", c)}
		plus.Cache.Count, minus.Cache.Count = val(rows), val(rows)
		labels := &xmlLabels{}
		for r := range rows {
			v, ok := fs.plottedValue(c*rows + r)
			if !ok {
				continue
			}
			lowest = min(lowest, v)
			s.Values.NumRef.Cache.add(r, v)
			pt := fs.point(c*rows + r)
			if lo, hi, ok := fs.interval(pt); ok {
				if t.Figure.As == plan.Degradation { // the doubt whether there is any is to be seen
					lowest = min(lowest, lo)
				}
				plus.Cache.add(r, hi-v)
				minus.Cache.add(r, v-lo)
			}
			labels.Labels = append(labels.Labels, staticLabel(r, fs.barText(pt), fs.bars() >= manyBars))
		}
		if len(labels.Labels) > 0 {
			labels.xmlShow = showNothing()
			s.Labels = labels
		}
		if len(plus.Cache.Points) > 0 {
			s.ErrBars = &xmlErrBars{
				BarType: val("both"), ValType: val("cust"), NoEndCap: val(0),
				Plus: &xmlNumSource{plus}, Minus: &xmlNumSource{minus}, SpPr: lineShape("404040", 9525),
			}
		}
		chart.Chart.PlotArea.Bars.Series = append(chart.Chart.PlotArea.Bars.Series, s)
	}
	if lowest >= 0 { // bars are compared by their length
		chart.Chart.PlotArea.ValAx.Scaling.Min = val(0)
	}
	return chart
}

// caveatMark is the first word of the caveat's sentence.
func caveatMark(c plan.Caveat) string {
	mark, _, _ := strings.Cut(caveats[c], ":")
	return mark
}

// interval is that of what the chart shows.
func (fs *figureSheet) interval(pt *results.Point) (lo, hi float64, ok bool) {
	_, lo, hi, ok, _ = pt.Shown(fs.table.Figure.As)
	return lo, hi, ok
}

// barText stands above a bar: the absolute value, as in the literature, where the bar is a ratio;
// the degradation itself, in percent, where it is one.
func (fs *figureSheet) barText(pt *results.Point) string {
	if fs.table.Figure.As == plan.Degradation {
		return strconv.FormatFloat(100*(pt.Ratio-1), 'f', 0, 64) + " %"
	}
	return labelText(pt.Sample.Center)
}

// labelText writes an absolute value with four digits: the least that tells 119.9 from 120.0.
func labelText(v float64) string {
	if v == 0 {
		return "0"
	}
	e := int(math.Floor(math.Log10(math.Abs(v))))
	if e >= 7 || e <= -4 {
		return strconv.FormatFloat(v, 'g', 4, 64)
	}
	return strconv.FormatFloat(v, 'f', max(0, 3-e), 64)
}
