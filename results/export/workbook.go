package export

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/xuri/excelize/v2"

	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
	"dlx.dev/dlx/results"
)

// Names of the sheets that are no figures.
const (
	sheetSummary    = "Summary"
	sheetRaw        = "Raw"
	sheetPlan       = "Plan"
	sheetProvenance = "Provenance"
	sheetNotes      = "Notes"
)

// workbook is a book on its way to a file.
type workbook struct {
	f       *excelize.File
	s       styles
	pk      *packer
	book    *results.Book
	o       *observations
	caveat  string
	figures []*figure
	charts  int
}

// rawHeader is the row of the sheet Raw on which the header stands; observation i is in row
// rawHeader+1+i.
const rawHeader = 1

// writeWorkbook writes the book as an Excel workbook: a summary, a sheet with a table of live
// formulas and a chart for each figure, the observations, and what is needed to check them.
func writeWorkbook(w *file, book *results.Book, o *observations) error {
	b := &workbook{f: excelize.NewFile(), book: book, o: o, pk: newPacker(), caveat: caveats[book.Run.Plan.Caveat]}
	defer b.f.Close() //nolint:errcheck // nothing is open but temporary files that the system removes
	var err error
	if b.s, err = newStyles(b.f); err != nil {
		return err
	}
	if err := b.sheets(); err != nil {
		return err
	}
	for _, write := range []func() error{b.summary, b.figureSheets, b.raw, b.plan, b.provenance, b.notes, b.properties} {
		if err := write(); err != nil {
			return err
		}
	}
	b.f.SetZipWriter(func(io.Writer) excelize.ZipWriter { return b.pk })
	if err := b.f.Write(io.Discard); err != nil {
		return err
	}
	return b.pk.writeTo(w)
}

// sheets makes all sheets, in the order in which they stand.
func (b *workbook) sheets() error {
	taken := names{max: maxSheetName}
	for _, n := range []string{sheetSummary, sheetRaw, sheetPlan, sheetProvenance, sheetNotes} {
		taken.reserve(n)
	}
	taken.reserve("History") // Excel keeps it for itself
	if err := b.f.SetSheetName("Sheet1", sheetSummary); err != nil {
		return err
	}
	var order []string
	for i := range b.book.Tables {
		fig := &figure{t: &b.book.Tables[i], n: i + 1}
		fig.sheet = taken.unique(sheetName(fig.t.Figure.Name), "")
		b.figures = append(b.figures, fig)
		order = append(order, fig.sheet)
	}
	for _, n := range append(order, sheetRaw, sheetPlan, sheetProvenance, sheetNotes) {
		if _, err := b.f.NewSheet(n); err != nil {
			return err
		}
	}
	return nil
}

// top starts a sheet with its title and, if there is one, the caveat.
func (b *workbook) top(s *sheet, title string) {
	s.add(styled(b.s.title, title))
	if b.caveat != "" {
		s.add(styled(b.s.caveat, b.caveat))
	}
	s.add()
}

func (b *workbook) summary() error {
	r, p := b.book.Run, b.book.Run.Plan
	s := &sheet{name: sheetSummary, widths: []float64{26, 18, 18, 18, 18, 18, 18}}
	title := p.Title
	if title == "" {
		title = p.Study
	}
	b.top(s, title)
	done, failed := 0, 0
	for i := range r.Trials {
		switch r.Trials[i].State {
		case journal.Done:
			done++
		case journal.Failed:
			failed++
		default:
		}
	}
	s.add("study", p.Study)
	s.add("testbed", p.Testbed)
	s.add("run", r.ID)
	s.add("cells", len(p.Cells))
	s.add("trials", len(r.Trials))
	s.add("with a result", done)
	s.add("failed", failed)
	s.add("without a result for other reasons", len(r.Trials)-done-failed)
	s.add("excluded cells", len(p.Excluded))
	s.add()
	if len(b.book.Warnings) > 0 {
		s.add(styled(b.s.section, "Warnings"))
		for _, w := range b.book.Warnings {
			s.add(w)
		}
		s.add()
	}
	for _, fig := range b.figures {
		b.summarizeFigure(s, fig)
	}
	return b.write(s, nil, 0)
}

// summarizeFigure adds a figure's table in short: medians, or ratios where it has a baseline.
func (b *workbook) summarizeFigure(s *sheet, fig *figure) {
	t := fig.t
	s.add(link("#"+quoteSheet(fig.sheet)+"!A1", fig.title(), b.s.link))
	s.add(fig.valueTitle())
	head := []any{styled(b.s.head, t.Figure.Rows)}
	for _, c := range t.Columns {
		head = append(head, styled(b.s.head, c))
	}
	s.add(head...)
	for i, row := range t.Rows {
		cells := []any{row}
		for k := range t.Columns {
			v, ok := fig.value(&t.Points[i][k])
			if !ok {
				cells = append(cells, nil)
				continue
			}
			style := b.s.number
			if fig.ratios() {
				style = b.s.ratio
			}
			cells = append(cells, excelize.Cell{StyleID: style, Value: v})
		}
		s.add(cells...)
	}
	s.add()
}

func (b *workbook) raw() error {
	s := &sheet{name: sheetRaw, frozen: rawHeader}
	head := make([]any, len(b.o.header))
	for i, h := range b.o.header {
		head[i] = styled(b.s.head, h)
		width := 12.0
		switch h {
		case "trial":
			width = 50
		case "file", "text", "how":
			width = 40
		}
		s.widths = append(s.widths, width)
	}
	s.add(head...)
	s.filter = fmt.Sprintf("A%d:%s%d", rawHeader, columnName(len(b.o.header)-1), rawHeader+max(len(b.o.rows), 1))
	fileColumn := 0
	for i, h := range b.o.header {
		if h == "file" {
			fileColumn = i
		}
	}
	return b.write(s, func(w *excelize.StreamWriter, row int) (int, error) {
		var buf []value
		for i := range b.o.rows {
			buf = b.o.row(i, buf[:0])
			cells := make([]any, len(buf))
			for k, v := range buf {
				cells[k] = cellOf(v, 0)
			}
			if name := buf[fileColumn].text; name != "" {
				cells[fileColumn] = link(logLink(name), name, b.s.link)
			}
			row++
			if err := setRow(w, row, cells); err != nil {
				return row, err
			}
		}
		return row, nil
	}, len(b.o.rows))
}

func (b *workbook) plan() error {
	p := b.book.Run.Plan
	s := &sheet{name: sheetPlan, widths: []float64{50, 34, 14, 16, 12, 100}}
	b.top(s, "What was planned")
	s.frozen = s.add(styled(b.s.head, "cell"), styled(b.s.head, "key"), styled(b.s.head, "fleet"), styled(b.s.head, "role"),
		styled(b.s.head, "processes"), styled(b.s.head, "command"))
	for i := range p.Cells {
		c := &p.Cells[i]
		for k := range c.Roles {
			ro := &c.Roles[k]
			s.add(c.Name, c.Key, p.Fleets[c.Fleet].Name, ro.Name, len(ro.Machines), commandLine(ro))
		}
	}
	return b.write(s, nil, 0)
}

// commandLine writes a role's arguments as a reader understands them; late values are named.
func commandLine(r *plan.Role) string {
	var words []string
	for _, e := range r.Env {
		words = append(words, e.Name+"="+e.Value)
	}
	for _, a := range r.Args {
		word := a.Text
		if l := a.Late; l != nil {
			switch {
			case l.Role != "":
				word += "<addresses of " + l.Role + ">"
			case l.File != "":
				word += "<" + l.File + ">"
			case l.Dataset != "":
				word += "<" + l.Dataset + ">"
			case l.Index:
				word += "<index>"
			}
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

func (b *workbook) provenance() error {
	r := b.book.Run
	s := &sheet{name: sheetProvenance, widths: []float64{50, 24, 30, 70}}
	b.top(s, "Where the numbers come from")
	s.add("run", r.ID)
	s.add("plan", r.Digest)
	s.add("dlx", r.Version)
	s.add("plan format", plan.Format)
	s.add("journal format", journal.Format)
	s.add("first event", stamp(r.Started))
	s.add("last event", stamp(r.Ended))
	s.add()
	s.add(styled(b.s.section, "Machines, as their provider and the probe inside them say"))
	s.add(styled(b.s.head, "trial"), styled(b.s.head, "machine"), styled(b.s.head, "what"), styled(b.s.head, "value"))
	for i := range r.Trials {
		t := &r.Trials[i]
		id := plan.TrialID(r.Plan.Cells[t.Cell].Name, t.Repeat)
		for _, m := range t.Machines {
			if m.Host != "" {
				s.add(id, m.Name, "host", m.Host)
			}
			for _, k := range slices.Sorted(maps.Keys(m.Facts)) {
				s.add(id, m.Name, k, m.Facts[k])
			}
		}
	}
	s.add()
	s.add(styled(b.s.section, "Logs"))
	s.add(styled(b.s.head, "file"), styled(b.s.head, "bytes"), styled(b.s.head, "process"), styled(b.s.head, "sha256"))
	for i := range r.Trials {
		for _, p := range r.Trials[i].Procs {
			for _, x := range p.Files {
				s.add(link(logLink(x.Name), x.Name, b.s.link), float64(x.Size), fmt.Sprintf("%s-%d", p.Role, p.Index), x.SHA256)
			}
		}
	}
	return b.write(s, nil, 0)
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func (b *workbook) notes() error {
	r, p := b.book.Run, b.book.Run.Plan
	s := &sheet{name: sheetNotes, widths: []float64{60, 16, 100}}
	b.top(s, "Notes")
	s.add(styled(b.s.head, "about"), styled(b.s.head, "what"), styled(b.s.head, "why"))
	for _, w := range b.book.Warnings {
		s.add("method", "warning", w)
	}
	for _, x := range p.Excluded {
		s.add(x.Cell, "excluded", x.Reason)
	}
	for i := range r.Trials {
		t := &r.Trials[i]
		id := plan.TrialID(p.Cells[t.Cell].Name, t.Repeat)
		if t.State != journal.Done {
			why := t.Error
			if t.Class != "" {
				why = t.Class + ": " + why
			}
			s.add(id, stateOf(t), why)
		}
		for _, w := range t.Warnings {
			s.add(id, "warning", w)
		}
	}
	for _, fig := range b.figures {
		for _, n := range fig.t.Notes {
			s.add("figure "+fig.t.Figure.Name, "note", n)
		}
		for _, n := range fig.t.Warnings {
			s.add("figure "+fig.t.Figure.Name, "warning", n)
		}
	}
	for _, l := range r.Left {
		s.add(l, "left over", "the ledger does not know it to be gone")
	}
	return b.write(s, nil, 0)
}

// properties are fixed, so that the same book has the same bytes; the times are the journal's.
func (b *workbook) properties() error {
	p := b.book.Run.Plan
	full := true
	if err := b.f.SetCalcProps(&excelize.CalcPropsOptions{FullCalcOnLoad: &full}); err != nil {
		return err
	}
	at := stamp(b.book.Run.Ended)
	if at == "" {
		at = "1980-01-01T00:00:00Z"
	}
	return b.f.SetDocProps(&excelize.DocProperties{
		Creator: "dlx", LastModifiedBy: "dlx", Title: fitCell(p.Study), Description: fitCell(b.caveat), Created: at, Modified: at,
	})
}
