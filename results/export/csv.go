package export

import (
	"bufio"
	"io"
	"slices"
	"strings"

	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/results"
)

// csvWriter writes UTF-8 without BOM, lines end with LF, and fields are quoted only where RFC
// 4180 needs it. Errors are kept until flush.
type csvWriter struct {
	w   *bufio.Writer
	buf []byte
}

func newCSV(w io.Writer) *csvWriter { return &csvWriter{w: bufio.NewWriterSize(w, 1<<16)} }

func (c *csvWriter) header(names []string) {
	for i, n := range names {
		if i > 0 {
			c.buf = append(c.buf, ',')
		}
		c.buf = appendField(c.buf, n)
	}
	c.end()
}

func (c *csvWriter) row(values []value) {
	for i, v := range values {
		if i > 0 {
			c.buf = append(c.buf, ',')
		}
		switch v.kind {
		case isText:
			c.buf = appendField(c.buf, v.text)
		case isNumber:
			c.buf = append(c.buf, numeral(v.number)...)
		case nothing:
		}
	}
	c.end()
}

func (c *csvWriter) end() {
	c.buf = append(c.buf, '\n')
	c.w.Write(c.buf) //nolint:errcheck // kept by the bufio.Writer until flush
	c.buf = c.buf[:0]
}

func (c *csvWriter) flush() error { return c.w.Flush() }

// guarded are the first characters that make a spreadsheet take a text for a formula (CWE-1236).
// Quoting does not stop that.
const guarded = "=+-@\t\r"

// appendField appends a text, with an apostrophe before it if a spreadsheet would calculate it.
func appendField(buf []byte, s string) []byte {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if s == "" {
		return buf
	}
	guard := strings.IndexByte(guarded, s[0]) >= 0
	if !strings.ContainsAny(s, ",\"\r\n") && s[0] != ' ' && s[0] != '\t' {
		if guard {
			buf = append(buf, '\'')
		}
		return append(buf, s...)
	}
	buf = append(buf, '"')
	if guard {
		buf = append(buf, '\'')
	}
	for i := 0; i < len(s); i++ {
		if s[i] == '"' {
			buf = append(buf, '"')
		}
		buf = append(buf, s[i])
	}
	return append(buf, '"')
}

func writeObservations(w io.Writer, o *observations) error {
	c := newCSV(w)
	c.header(o.header)
	var buf []value
	for i := range o.rows {
		buf = o.row(i, buf[:0])
		c.row(buf)
	}
	return c.flush()
}

// writeTrials writes one row for each trial of the plan, also those that were never tried.
func writeTrials(w io.Writer, r *results.Run) error {
	spans := spanNames(r)
	after := []string{"repeat", "state", "class", "attempts"}
	for _, s := range spans {
		after = append(after, s+"_s")
	}
	after = append(after, "background_covered", "caveat", "warnings", "error")
	axes, header := axisColumns(r.Plan, []string{"run", "trial", "block"}, after)
	c := newCSV(w)
	c.header(header)
	var buf []value
	for i := range r.Trials {
		t := &r.Trials[i]
		cell := &r.Plan.Cells[t.Cell]
		buf = append(buf[:0], text(r.ID), text(plan.TrialID(cell.Name, t.Repeat)), text(cell.Block))
		buf = appendAxes(buf, axes, cell)
		buf = append(buf, integer(t.Repeat), text(stateOf(t)), text(t.Class), integer(t.Attempts))
		for _, s := range spans {
			buf = append(buf, spanOf(t, s))
		}
		buf = append(buf, coveredOf(t), text(string(r.Plan.Caveat)), text(strings.Join(t.Warnings, "; ")), text(t.Error))
		c.row(buf)
	}
	return c.flush()
}

// coveredOf is the least that a background process of the trial covered of the others' time.
func coveredOf(t *results.Trial) value {
	least, ok := 1.0, false
	for _, p := range t.Procs {
		if p.Covered != nil {
			least, ok = min(least, *p.Covered), true
		}
	}
	if !ok {
		return value{}
	}
	return number(least)
}

func stateOf(t *results.Trial) string {
	if t.State == "" {
		return "not run"
	}
	return string(t.State)
}

func spanNames(r *results.Run) []string {
	have := map[string]bool{}
	var out []string
	for i := range r.Trials {
		for _, s := range r.Trials[i].Spans {
			if !have[s.Name] {
				have[s.Name] = true
				out = append(out, s.Name)
			}
		}
	}
	slices.Sort(out)
	return out
}

// spanOf sums the spans of a name, in seconds.
func spanOf(t *results.Trial, name string) value {
	sum, ok := 0.0, false
	for _, s := range t.Spans {
		if s.Name == name {
			sum, ok = sum+s.Took.Seconds(), true
		}
	}
	if !ok {
		return value{}
	}
	return number(sum)
}

// writeFigure writes a table, a bar a row.
func writeFigure(w io.Writer, caveat plan.Caveat, t *results.Table) error {
	c := newCSV(w)
	c.header([]string{
		"row", "column", "cell", "n", "missing", "median", "lo", "hi", "level", "mean", "mean_kind", "sd", "unit",
		"baseline_cell", "baseline_median", "ratio", "ratio_lo", "ratio_hi", "ratio_level", "degradation",
		"reference", "reference_ratio", "caveat", "note",
	})
	var buf []value
	for _, points := range t.Points {
		for i := range points {
			buf = figureRow(buf[:0], caveat, t, &points[i])
			c.row(buf)
		}
	}
	return c.flush()
}

func figureRow(buf []value, caveat plan.Caveat, t *results.Table, pt *results.Point) []value {
	s := &pt.Sample
	buf = append(buf, text(pt.Row), text(pt.Column), text(pt.Cell))
	if pt.Cell == "" {
		buf = append(buf, value{}, value{})
	} else {
		buf = append(buf, integer(s.N), integer(s.Missing))
	}
	n := len(buf)
	buf = append(buf, make([]value, 7)...)
	if s.N > 0 {
		buf[n], buf[n+4], buf[n+5] = number(s.Center), number(s.Mean), text(meanKind(s))
	}
	if s.Level > 0 {
		buf[n+1], buf[n+2], buf[n+3] = number(s.Lo), number(s.Hi), number(s.Level)
	}
	if s.N > 1 {
		buf[n+6] = number(s.SD)
	}
	buf = append(buf, text(t.Metric.Unit), text(pt.BaseCell))
	n = len(buf)
	buf = append(buf, make([]value, 5)...)
	if pt.Base != nil && pt.Base.N > 0 {
		buf[n] = number(pt.Base.Center)
	}
	if pt.HasRatio() {
		buf[n+1] = number(pt.Ratio)
	}
	if pt.RatioLevel > 0 {
		buf[n+2], buf[n+3], buf[n+4] = number(pt.RatioLo), number(pt.RatioHi), number(pt.RatioLevel)
	}
	n = len(buf)
	buf = append(buf, make([]value, 3)...)
	if v, _, _, _, ok := pt.Shown(plan.Degradation); ok && t.Figure.As == plan.Degradation {
		buf[n] = number(v)
	}
	if pt.Ref != nil {
		buf[n+1] = number(pt.Ref.Value)
		if pt.Ref.Ratio != 0 {
			buf[n+2] = number(pt.Ref.Ratio)
		}
	}
	return append(buf, text(string(caveat)), text(pt.Note))
}

func meanKind(s *results.Sample) string {
	if s.Harmonic {
		return "harmonic"
	}
	return "arithmetic"
}
