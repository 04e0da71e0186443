package export

import (
	"encoding/xml"
	"fmt"
)

// The elements of a DrawingML chart, in the order that the schema (ECMA-376 part 1, section 21.2)
// demands: Excel refuses another one. Names with "a:" are of the main drawing namespace.

type xmlChartSpace struct {
	XMLName xml.Name `xml:"chartSpace"`
	NS      string   `xml:"xmlns,attr"`
	NSA     string   `xml:"xmlns:a,attr"`
	NSR     string   `xml:"xmlns:r,attr"`
	Date    *xmlVal  `xml:"date1904"`
	Round   *xmlVal  `xml:"roundedCorners"`
	Chart   struct {
		Title       xmlTitle `xml:"title"`
		AutoDeleted *xmlVal  `xml:"autoTitleDeleted"`
		PlotArea    struct {
			Layout struct{}    `xml:"layout"`
			Bars   xmlBarChart `xml:"barChart"`
			CatAx  xmlAxis     `xml:"catAx"`
			ValAx  xmlAxis     `xml:"valAx"`
		} `xml:"plotArea"`
		Legend struct {
			Pos     *xmlVal `xml:"legendPos"`
			Overlay *xmlVal `xml:"overlay"`
		} `xml:"legend"`
		VisibleOnly *xmlVal `xml:"plotVisOnly"`
		Blanks      *xmlVal `xml:"dispBlanksAs"`
	} `xml:"chart"`
	SpPr *xmlShape `xml:"spPr"`
}

type xmlVal struct {
	Val string `xml:"val,attr"`
}

func val(v any) *xmlVal { return &xmlVal{fmt.Sprint(v)} }

type xmlBarChart struct {
	Dir      *xmlVal     `xml:"barDir"`
	Grouping *xmlVal     `xml:"grouping"`
	Vary     *xmlVal     `xml:"varyColors"`
	Series   []xmlSeries `xml:"ser"`
	Gap      *xmlVal     `xml:"gapWidth"`
	AxIDs    [2]*xmlVal  `xml:"axId"`
}

type xmlSeries struct {
	Idx     *xmlVal       `xml:"idx"`
	Order   *xmlVal       `xml:"order"`
	Tx      xmlSeriesText `xml:"tx"`
	SpPr    *xmlShape     `xml:"spPr"`
	Invert  *xmlVal       `xml:"invertIfNegative"`
	Labels  *xmlLabels    `xml:"dLbls"`
	ErrBars *xmlErrBars   `xml:"errBars"`
	Cat     xmlCategories `xml:"cat"`
	Values  xmlValues     `xml:"val"`
}

type xmlSeriesText struct {
	StrRef xmlStrRef `xml:"strRef"`
}

type xmlCategories struct {
	StrRef xmlStrRef `xml:"strRef"`
}

type xmlValues struct {
	NumRef xmlNumRef `xml:"numRef"`
}

type xmlStrRef struct {
	F     string `xml:"f"`
	Cache struct {
		Count  *xmlVal    `xml:"ptCount"`
		Points []xmlPoint `xml:"pt"`
	} `xml:"strCache"`
}

type xmlNumRef struct {
	F     string      `xml:"f"`
	Cache xmlNumCache `xml:"numCache"`
}

type xmlNumCache struct {
	Format string     `xml:"formatCode"`
	Count  *xmlVal    `xml:"ptCount"`
	Points []xmlPoint `xml:"pt"`
}

type xmlPoint struct {
	Idx int    `xml:"idx,attr"`
	V   string `xml:"v"`
}

func (c *xmlNumCache) add(i int, v float64) {
	c.Format = "General"
	c.Points = append(c.Points, xmlPoint{i, numeral(v)})
}

func strRef(f string, values []string) xmlStrRef {
	r := xmlStrRef{F: f}
	r.Cache.Count = val(len(values))
	for i, v := range values {
		r.Cache.Points = append(r.Cache.Points, xmlPoint{i, v})
	}
	return r
}

type xmlErrBars struct {
	BarType  *xmlVal       `xml:"errBarType"`
	ValType  *xmlVal       `xml:"errValType"`
	NoEndCap *xmlVal       `xml:"noEndCap"`
	Plus     *xmlNumSource `xml:"plus"`
	Minus    *xmlNumSource `xml:"minus"`
	SpPr     *xmlShape     `xml:"spPr"`
}

type xmlNumSource struct {
	NumRef *xmlNumRef `xml:"numRef"`
}

type xmlLabels struct {
	Labels []xmlLabel `xml:"dLbl"`
	xmlShow
}

type xmlLabel struct {
	Idx  *xmlVal   `xml:"idx"`
	Rich *xmlRich  `xml:"tx>rich"`
	SpPr *xmlShape `xml:"spPr"`
	Pos  *xmlVal   `xml:"dLblPos"`
	xmlShow
}

// xmlShow says what a label shows beside its own text.
type xmlShow struct {
	Key      *xmlVal `xml:"showLegendKey"`
	Val      *xmlVal `xml:"showVal"`
	Category *xmlVal `xml:"showCatName"`
	Series   *xmlVal `xml:"showSerName"`
	Percent  *xmlVal `xml:"showPercent"`
	Bubble   *xmlVal `xml:"showBubbleSize"`
}

func showNothing() xmlShow { return xmlShow{val(0), val(0), val(0), val(0), val(0), val(0)} }

// staticLabel puts a text above bar i. Its text does not follow the cells: no form that does is
// shown by both Excel and LibreOffice.
func staticLabel(i int, s string, upright bool) xmlLabel {
	l := xmlLabel{Idx: val(i), Rich: richText(s, 800, false), Pos: val("outEnd"), xmlShow: showNothing()}
	l.Val = val(1)
	if upright {
		l.Rich.Body.Rot, l.Rich.Body.Vert = "-5400000", "horz"
	}
	return l
}

type xmlRich struct {
	Body struct {
		Rot  string `xml:"rot,attr,omitempty"`
		Vert string `xml:"vert,attr,omitempty"`
	} `xml:"a:bodyPr"`
	P struct {
		R struct {
			Pr struct {
				Lang string `xml:"lang,attr"`
				Size int    `xml:"sz,attr"`
				Bold int    `xml:"b,attr"`
			} `xml:"a:rPr"`
			T string `xml:"a:t"`
		} `xml:"a:r"`
	} `xml:"a:p"`
}

// richText is text of a size in hundredths of a point.
func richText(s string, size int, bold bool) *xmlRich {
	r := &xmlRich{}
	r.P.R.Pr.Lang, r.P.R.Pr.Size, r.P.R.T = "en-US", size, s
	if bold {
		r.P.R.Pr.Bold = 1
	}
	return r
}

type xmlTitle struct {
	Rich    *xmlRich `xml:"tx>rich"`
	Overlay *xmlVal  `xml:"overlay"`
}

type xmlAxis struct {
	ID      *xmlVal `xml:"axId"`
	Scaling struct {
		Orientation *xmlVal `xml:"orientation"`
		Min         *xmlVal `xml:"min"`
	} `xml:"scaling"`
	Delete *xmlVal `xml:"delete"`
	Pos    *xmlVal `xml:"axPos"`
	Grid   *struct {
		SpPr *xmlShape `xml:"spPr"`
	} `xml:"majorGridlines"`
	Title  xmlTitle `xml:"title"`
	NumFmt struct {
		Code   string `xml:"formatCode,attr"`
		Linked int    `xml:"sourceLinked,attr"`
	} `xml:"numFmt"`
	Major    *xmlVal `xml:"majorTickMark"`
	Minor    *xmlVal `xml:"minorTickMark"`
	LabelPos *xmlVal `xml:"tickLblPos"`
	CrossAx  *xmlVal `xml:"crossAx"`
	Crosses  *xmlVal `xml:"crosses"`
	Between  *xmlVal `xml:"crossBetween"` // of a value axis
	Auto     *xmlVal `xml:"auto"`         // of a category axis, as all below
	Align    *xmlVal `xml:"lblAlgn"`
	Offset   *xmlVal `xml:"lblOffset"`
	OneLevel *xmlVal `xml:"noMultiLvlLbl"`
}

type xmlShape struct {
	Fill *xmlFill `xml:"a:solidFill"`
	Line *xmlLine `xml:"a:ln"`
}

type xmlLine struct {
	Width int      `xml:"w,attr"`
	Fill  *xmlFill `xml:"a:solidFill"`
}

type xmlFill struct {
	Color xmlVal `xml:"a:srgbClr"`
}

func fill(color string) *xmlFill { return &xmlFill{xmlVal{color}} }

func solidShape(color string) *xmlShape { return &xmlShape{Fill: fill(color)} }

// lineShape is a line of a width in EMU (12,700 a point).
func lineShape(color string, width int) *xmlShape {
	return &xmlShape{Line: &xmlLine{Width: width, Fill: fill(color)}}
}

// newChart is a chart without series.
func newChart(title, rows, quantity string) *xmlChartSpace {
	const catID, valID = 1001, 1002
	s := &xmlChartSpace{
		NS:   "http://schemas.openxmlformats.org/drawingml/2006/chart",
		NSA:  "http://schemas.openxmlformats.org/drawingml/2006/main",
		NSR:  "http://schemas.openxmlformats.org/officeDocument/2006/relationships",
		Date: val(0), Round: val(0),
		SpPr: solidShape("FFFFFF"),
	}
	c := &s.Chart
	c.Title = xmlTitle{Rich: richText(title, 1400, true), Overlay: val(0)}
	c.AutoDeleted, c.VisibleOnly, c.Blanks = val(0), val(1), val("gap")
	c.Legend.Pos, c.Legend.Overlay = val("b"), val(0)
	c.PlotArea.Bars = xmlBarChart{Dir: val("col"), Grouping: val("clustered"), Vary: val(0), Gap: val(60), AxIDs: [2]*xmlVal{val(catID), val(valID)}}
	cat, value := &c.PlotArea.CatAx, &c.PlotArea.ValAx
	for _, x := range []struct {
		a     *xmlAxis
		id    int
		cross int
		pos   string
		title string
	}{{cat, catID, valID, "b", rows}, {value, valID, catID, "l", quantity}} {
		x.a.ID, x.a.CrossAx, x.a.Pos = val(x.id), val(x.cross), val(x.pos)
		x.a.Scaling.Orientation, x.a.Delete = val("minMax"), val(0)
		x.a.Title = xmlTitle{Rich: richText(x.title, 1000, true), Overlay: val(0)}
		x.a.NumFmt.Code = "General"
		x.a.Major, x.a.Minor, x.a.LabelPos, x.a.Crosses = val("out"), val("none"), val("low"), val("autoZero")
	}
	value.Title.Rich.Body.Rot, value.Title.Rich.Body.Vert = "-5400000", "horz"
	value.Grid = &struct {
		SpPr *xmlShape `xml:"spPr"`
	}{lineShape("D9D9D9", 6350)}
	value.Between = val("between")
	cat.Auto, cat.Align, cat.Offset, cat.OneLevel = val(1), val("ctr"), val(100), val(0)
	return s
}

func marshalChart(s *xmlChartSpace) ([]byte, error) {
	out, err := xml.Marshal(s)
	return append([]byte(xml.Header), out...), err
}
