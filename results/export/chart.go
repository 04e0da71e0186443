package export

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"
	"text/template"

	"github.com/xuri/excelize/v2"
)

// palette is Okabe and Ito's, which colour-blind readers can tell apart.
var palette = []string{"0072B2", "E69F00", "009E73", "CC79A7", "56B4E9", "D55E00", "F0E442", "000000"}

// chart places a clustered column chart on the figure's sheet. excelize makes the part and what
// refers to it; its content is ours, since excelize has neither error bars nor labels other than
// the bar's height, and leaves out the values that viewers without a calculator need.
func (b *workbook) chart(fig *figure, row int) error {
	t := fig.t
	if len(t.Rows) == 0 || len(t.Columns) == 0 {
		return nil
	}
	c := chartXML{Title: fig.title(), Rows: t.Figure.Rows, Values: fig.valueTitle(), FromZero: true}
	n, last := len(t.Columns), fig.firstRow+len(t.Rows)-1
	area := func(col int) string {
		name := columnName(col)
		return fmt.Sprintf("%s!$%s$%d:$%s$%d", quoteSheet(fig.sheet), name, fig.firstRow, name, last)
	}
	c.CatRef = area(0)
	c.Categories = t.Rows
	var series []excelize.ChartSeries
	for k, column := range t.Columns {
		s := seriesXML{
			Index: k, Color: palette[k%len(palette)], NameRef: fmt.Sprintf("%s!$%s$%d", quoteSheet(fig.sheet), columnName(1+k), fig.firstRow-1), Name: column,
			ValRef: area(1 + k), PlusRef: area(1 + n + k), MinusRef: area(1 + 2*n + k), N: len(t.Rows),
		}
		for i := range t.Rows {
			pt := &t.Points[i][k]
			v, ok := fig.value(pt)
			if !ok {
				continue
			}
			c.FromZero = c.FromZero && v >= 0
			s.Values = append(s.Values, pointXML{i, numeral(v)})
			s.Labels = append(s.Labels, pointXML{i, short(pt.Sample.Center)})
			if lo, hi, ok := fig.bounds(pt); ok {
				s.Plus = append(s.Plus, pointXML{i, numeral(hi - v)})
				s.Minus = append(s.Minus, pointXML{i, numeral(v - lo)})
			}
		}
		c.Series = append(c.Series, s)
		series = append(series, excelize.ChartSeries{Name: s.NameRef, Categories: c.CatRef, Values: s.ValRef})
	}
	tmpl, err := template.New("chart").Funcs(template.FuncMap{"x": escape}).Parse(chartText)
	if err != nil {
		return err
	}
	var content bytes.Buffer
	if err := tmpl.Execute(&content, c); err != nil {
		return err
	}
	if err := b.f.AddChart(fig.sheet, fmt.Sprintf("A%d", row), &excelize.Chart{
		Type: excelize.Col, Series: series, Dimension: excelize.ChartDimension{Width: 900, Height: 440},
	}); err != nil {
		return err
	}
	b.charts++
	b.pk.replace[fmt.Sprintf("xl/charts/chart%d.xml", b.charts)] = content.Bytes()
	return nil
}

// short is a number as a label: three digits are enough above a bar.
func short(f float64) string {
	switch {
	case f >= 100 || f <= -100:
		return strconv.FormatFloat(f, 'f', 0, 64)
	default:
		return strconv.FormatFloat(f, 'g', 3, 64)
	}
}

type chartXML struct {
	Title, Rows, Values, CatRef string
	FromZero                    bool // bars begin at 0 unless one is below it
	Categories                  []string
	Series                      []seriesXML
}

type seriesXML struct {
	Index, N                                        int
	Color, NameRef, Name, ValRef, PlusRef, MinusRef string
	Values, Labels, Plus, Minus                     []pointXML
}

type pointXML struct {
	Index int
	Text  string
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder never fails
	return b.String()
}

// The order of elements is that of the schema (ECMA-376 part 1, 21.2): a wrong one makes Excel
// offer a repair.
const chartText = `<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<c:chartSpace xmlns:c="http://schemas.openxmlformats.org/drawingml/2006/chart" xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships">
<c:roundedCorners val="0"/><c:chart><c:title><c:tx><c:rich><a:bodyPr/><a:p><a:pPr><a:defRPr sz="1400" b="1"/></a:pPr><a:r><a:rPr lang="en-US" sz="1400" b="1"/><a:t>{{x .Title}}</a:t></a:r></a:p></c:rich></c:tx><c:overlay val="0"/></c:title><c:autoTitleDeleted val="0"/><c:plotArea><c:layout/>
<c:barChart><c:barDir val="col"/><c:grouping val="clustered"/><c:varyColors val="0"/>
{{- $chart := .}}{{range .Series}}
<c:ser><c:idx val="{{.Index}}"/><c:order val="{{.Index}}"/><c:tx><c:strRef><c:f>{{x .NameRef}}</c:f><c:strCache><c:ptCount val="1"/><c:pt idx="0"><c:v>{{x .Name}}</c:v></c:pt></c:strCache></c:strRef></c:tx><c:spPr><a:solidFill><a:srgbClr val="{{.Color}}"/></a:solidFill></c:spPr><c:invertIfNegative val="0"/>
<c:dLbls>{{range .Labels}}<c:dLbl><c:idx val="{{.Index}}"/><c:tx><c:rich><a:bodyPr/><a:p><a:pPr><a:defRPr sz="900"/></a:pPr><a:r><a:rPr lang="en-US" sz="900"/><a:t>{{x .Text}}</a:t></a:r></a:p></c:rich></c:tx><c:dLblPos val="outEnd"/><c:showLegendKey val="0"/><c:showVal val="1"/><c:showCatName val="0"/><c:showSerName val="0"/><c:showPercent val="0"/><c:showBubbleSize val="0"/></c:dLbl>{{end}}<c:dLblPos val="outEnd"/><c:showLegendKey val="0"/><c:showVal val="1"/><c:showCatName val="0"/><c:showSerName val="0"/><c:showPercent val="0"/><c:showBubbleSize val="0"/></c:dLbls>
{{- if .Plus}}
<c:errBars><c:errBarType val="both"/><c:errValType val="cust"/><c:noEndCap val="0"/><c:plus><c:numRef><c:f>{{x .PlusRef}}</c:f><c:numCache><c:formatCode>General</c:formatCode><c:ptCount val="{{.N}}"/>{{range .Plus}}<c:pt idx="{{.Index}}"><c:v>{{.Text}}</c:v></c:pt>{{end}}</c:numCache></c:numRef></c:plus><c:minus><c:numRef><c:f>{{x .MinusRef}}</c:f><c:numCache><c:formatCode>General</c:formatCode><c:ptCount val="{{.N}}"/>{{range .Minus}}<c:pt idx="{{.Index}}"><c:v>{{.Text}}</c:v></c:pt>{{end}}</c:numCache></c:numRef></c:minus></c:errBars>
{{- end}}
<c:cat><c:strRef><c:f>{{x $chart.CatRef}}</c:f><c:strCache><c:ptCount val="{{.N}}"/>{{range $i, $c := $chart.Categories}}<c:pt idx="{{$i}}"><c:v>{{x $c}}</c:v></c:pt>{{end}}</c:strCache></c:strRef></c:cat>
<c:val><c:numRef><c:f>{{x .ValRef}}</c:f><c:numCache><c:formatCode>General</c:formatCode><c:ptCount val="{{.N}}"/>{{range .Values}}<c:pt idx="{{.Index}}"><c:v>{{.Text}}</c:v></c:pt>{{end}}</c:numCache></c:numRef></c:val></c:ser>
{{- end}}
<c:gapWidth val="80"/><c:axId val="1"/><c:axId val="2"/></c:barChart>
<c:catAx><c:axId val="1"/><c:scaling><c:orientation val="minMax"/></c:scaling><c:delete val="0"/><c:axPos val="b"/><c:title><c:tx><c:rich><a:bodyPr/><a:p><a:pPr><a:defRPr sz="1000" b="0"/></a:pPr><a:r><a:rPr lang="en-US" sz="1000" b="0"/><a:t>{{x .Rows}}</a:t></a:r></a:p></c:rich></c:tx><c:overlay val="0"/></c:title><c:numFmt formatCode="General" sourceLinked="0"/><c:majorTickMark val="none"/><c:minorTickMark val="none"/><c:tickLblPos val="nextTo"/><c:crossAx val="2"/><c:crosses val="autoZero"/><c:auto val="1"/><c:lblAlgn val="ctr"/><c:lblOffset val="100"/><c:noMultiLvlLbl val="0"/></c:catAx>
<c:valAx><c:axId val="2"/><c:scaling><c:orientation val="minMax"/>{{if .FromZero}}<c:min val="0"/>{{end}}</c:scaling><c:delete val="0"/><c:axPos val="l"/><c:majorGridlines><c:spPr><a:ln w="6350"><a:solidFill><a:srgbClr val="D9D9D9"/></a:solidFill></a:ln></c:spPr></c:majorGridlines><c:title><c:tx><c:rich><a:bodyPr/><a:p><a:pPr><a:defRPr sz="1000" b="0"/></a:pPr><a:r><a:rPr lang="en-US" sz="1000" b="0"/><a:t>{{x .Values}}</a:t></a:r></a:p></c:rich></c:tx><c:overlay val="0"/></c:title><c:numFmt formatCode="General" sourceLinked="0"/><c:majorTickMark val="out"/><c:minorTickMark val="none"/><c:tickLblPos val="nextTo"/><c:crossAx val="1"/><c:crosses val="autoZero"/><c:crossBetween val="between"/></c:valAx>
</c:plotArea><c:legend><c:legendPos val="b"/><c:overlay val="0"/></c:legend><c:plotVisOnly val="1"/><c:dispBlanksAs val="gap"/></c:chart></c:chartSpace>
`
