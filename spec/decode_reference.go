package spec

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"dlx.dev/dlx/spec/diag"
	"dlx.dev/dlx/spec/words"
)

// Columns of a file of reference numbers that are no axes.
const (
	refBlock  = "block"
	refMetric = "metric"
	refUnit   = "unit"
	refValue  = "value"
	refNote   = "note"
)

// A refTable is a file of reference numbers as it was read; what it names is checked when the
// axes are known.
type refTable struct {
	file   string
	header []string
	at     []diag.Pos
	rows   []refRow
}

type refRow struct {
	fields []string
	at     []diag.Pos
}

func (d *decoder) reference(n *node) *Reference {
	if !d.isStruct(n, `{file: "published.csv", source: "Lin, Pai and Chou, CLOSER 2018"}`) {
		return nil
	}
	d.unknown(n, "file", "source")
	r := &Reference{Pos: n.label, Source: d.text(d.need(n, "source", `"Lin, Pai and Chou, CLOSER 2018"`))}
	f := d.need(n, "file", `"published.csv"`)
	name := d.text(f)
	switch {
	case name == "":
		return r
	case path.IsAbs(name) || !strings.HasSuffix(name, ".csv") || path.Clean(name) != name || strings.HasPrefix(name, "../"):
		d.errorf(f, "%s is no CSV file in the study's folder; write its name there, such as %q", quote(name), "published.csv")
		return r
	}
	text, err := d.read(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.errorf(f, "the study's folder has no file %s", quote(name))
	case err != nil:
		d.errorf(f, "cannot be read: %v", err)
	default:
		d.table = d.readTable(name, text)
	}
	return r
}

// readTable reads a CSV file with the place of each field.
func (d *decoder) readTable(name string, text []byte) *refTable {
	t := &refTable{file: name}
	r := csv.NewReader(strings.NewReader(string(text)))
	r.Comment = '#'
	for {
		fields, err := r.Read()
		var bad *csv.ParseError
		switch {
		case errors.Is(err, io.EOF):
			if t.header == nil {
				d.errs.Addf(diag.Pos{File: name, Line: 1, Col: 1}, "study.reference", "an empty file; the first line names the columns, such as model,orchestration,metric,value")
			}
			return t
		case errors.As(err, &bad):
			d.errs.Addf(diag.Pos{File: name, Line: bad.Line, Col: bad.Column}, "study.reference", "not CSV: %v", bad.Err)
			return nil
		case err != nil:
			d.errs.Addf(diag.Pos{File: name, Line: 1, Col: 1}, "study.reference", "not CSV: %v", err)
			return nil
		}
		at := make([]diag.Pos, len(fields))
		for i := range fields {
			line, column := r.FieldPos(i)
			at[i] = diag.Pos{File: name, Line: line, Col: column}
		}
		if t.header == nil {
			t.header, t.at = fields, at
		} else {
			t.rows = append(t.rows, refRow{fields, at})
		}
	}
}

// checkReference turns the table into rows, and reports what it names that the study lacks.
func (d *decoder) checkReference(s *Study) {
	t := d.table
	if t == nil || t.header == nil || s.Reference == nil {
		return
	}
	known := append(s.axisNames(scope{}), refBlock, refMetric, refUnit, refValue, refNote)
	ok := true
	for i, name := range t.header {
		switch {
		case slices.Contains(t.header[:i], name):
			d.errs.Addf(t.at[i], "study.reference", "the column %s stands there already; remove one of them", quote(name))
			ok = false
		case !slices.Contains(known, name):
			d.errs.Addf(t.at[i], "study.reference", "unknown column %s%s", quote(name), words.Known(name, known))
			ok = false
		}
	}
	for _, name := range []string{refMetric, refValue} {
		if !slices.Contains(t.header, name) {
			d.errs.Addf(t.at[0], "study.reference", "the column %s is missing", quote(name))
			ok = false
		}
	}
	if !ok {
		return
	}
	for _, row := range t.rows {
		if r, ok := d.referenceRow(s, t, row); ok {
			s.Reference.Rows = append(s.Reference.Rows, r)
		}
	}
}

func (d *decoder) referenceRow(s *Study, t *refTable, row refRow) (ReferenceRow, bool) {
	out := ReferenceRow{Pos: row.at[0]}
	ok := true
	bad := func(i int, format string, args ...any) {
		d.errs.Addf(row.at[i], "study.reference", "%s: %s", t.header[i], fmt.Sprintf(format, args...))
		ok = false
	}
	var unit string
	unitAt := -1
	for i, name := range t.header {
		v := row.fields[i]
		switch name {
		case refBlock:
			var names []string
			for _, b := range s.Blocks {
				names = append(names, b.Name)
			}
			if out.Block = v; v != "" && !slices.Contains(names, v) {
				*d.errs = append(*d.errs, &diag.Error{Pos: row.at[i], Path: "study.reference", Msg: "block: unknown block " + quote(v) + words.Known(v, names), Related: see(s.blockAt(words.Nearest(v, names)))})
				ok = false
			}
		case refMetric:
			var names []string
			for _, m := range s.Metrics {
				names = append(names, m.Name)
			}
			if out.Metric = v; !slices.Contains(names, v) {
				bad(i, "unknown metric %s%s", quote(v), words.Known(v, names))
			}
		case refUnit:
			unit, unitAt = v, i
		case refValue:
			x, err := strconv.ParseFloat(v, 64)
			if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
				bad(i, "found %s; a number is wanted", quote(v))
			}
			out.Value = x
		case refNote:
			out.Note = v
		default:
			if v == "" {
				continue
			}
			values, _ := s.values(name, scope{})
			if !slices.Contains(texts(values), v) {
				d.noValue(row.at[i], "study.reference", name, v, values)
				ok = false
			}
			out.Where = append(out.Where, Setting{Axis: name, Value: Value{Text: v, Pos: row.at[i]}, Pos: row.at[i]})
		}
	}
	for _, m := range s.Metrics {
		if m.Name == out.Metric && unit != "" && unit != m.Unit {
			bad(unitAt, "found %s; the study measures %s in %s: convert the numbers", quote(unit), m.Name, m.Unit)
		}
	}
	return out, ok
}
