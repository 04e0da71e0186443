package export

import (
	"encoding/xml"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/xuri/excelize/v2"

	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
	"dlx.dev/dlx/results"
)

func TestNamesOfSheetsAreLegalAndUnique(t *testing.T) {
	n := names{max: maxSheetName}
	n.reserve("Raw")
	long := strings.Repeat("x", 40)
	for _, c := range []struct{ in, want string }{
		{"fig5", "fig5"}, {"FIG5", "FIG5-2"}, {"raw", "raw-2"}, {"a/b:c", "a_b_c"}, {"'quoted'", "quoted"}, {"", "figure"},
		{long, long[:31]}, {long, long[:29] + "-2"}, {strings.Repeat("\U0001F600", 20), strings.Repeat("\U0001F600", 15)},
	} {
		if got := n.unique(sheetName(c.in), ""); got != c.want {
			t.Errorf("%q: got %q; want %q", c.in, got, c.want)
		}
	}
}

func TestTextIsCutWithAMark(t *testing.T) {
	for _, c := range []struct{ name, in string }{
		{"ASCII", strings.Repeat("x", 40_000)}, {"pairs", strings.Repeat("\U0001F600", 20_000)}, {"three bytes", strings.Repeat("€", 32_768)},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := fitCell(c.in)
			if units := len(utf16.Encode([]rune(got))); units > maxCellUnits || units < maxCellUnits-1 || !strings.HasSuffix(got, cutMark) {
				t.Errorf("%d units, ends %q", units, got[len(got)-30:])
			}
		})
	}
	if in := strings.Repeat("€", 32_767); fitCell(in) != in {
		t.Error("a text that fits was cut")
	}
}

func TestLinksStayText(t *testing.T) {
	for _, c := range []struct {
		name, target, label, formula string
	}{
		{"quotes", `../logs/a"b`, `x"),HYPERLINK("http://evil","y`, `HYPERLINK("../logs/a""b","x""),HYPERLINK(""http://evil"",""y")`},
		{"too long", "../logs/" + strings.Repeat("a", 250), "label", ""},
		{"a label that is too long", "../logs/a", strings.Repeat("a", 256), ""},
		{"nowhere", "", "label", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			if cell, ok := link(c.target, c.label, 1).(excelize.Cell); ok {
				got = cell.Formula
			}
			if got != c.formula {
				t.Errorf("got %s; want %s", got, c.formula)
			}
		})
	}
	for in, want := range map[string]string{
		"logs/a b/100%/x#1/it's": "../logs/a%20b/100%25/x%231/it%27s", "logs/single/model=a,o=vm/r1": "../logs/single/model=a,o=vm/r1",
		"../etc/passwd": "", "/etc/passwd": "", "logs/../../x": "", "": "",
	} {
		if got := logLink(in); got != want {
			t.Errorf("%q: got %q; want %q", in, got, want)
		}
	}
}

func TestNumbersThatAreNoneReachNoCell(t *testing.T) {
	r := richRun(t, plan.NoCaveat)
	r.Trials[0].Obs[0].Value, r.Trials[1].Obs[0].Value = math.NaN(), math.Inf(1)
	dir := t.TempDir()
	_, err := All(dir, results.Tabulate(r))
	if err == nil || !strings.Contains(err.Error(), "7 observations of throughput, but 5 values") {
		t.Errorf("got %v; want an error that the table and its observations differ", err)
	}
	for _, f := range []string{"observations.csv", "fig5.csv"} {
		b, err := os.ReadFile(filepath.Join(dir, f))
		if err != nil || strings.Contains(string(b), "NaN") || strings.Contains(string(b), "Inf") {
			t.Errorf("%s: %v: holds NaN or Inf", f, err)
		}
	}
	for _, v := range []any{math.NaN(), math.Inf(-1), excelize.Cell{Value: math.NaN()}} {
		switch got := clean(v).(type) {
		case nil:
		case excelize.Cell:
			if got.Value != nil {
				t.Errorf("%v became %v", v, got)
			}
		default:
			t.Errorf("%v became %v", v, got)
		}
	}
}

func TestHostileTextComesBackAsItWas(t *testing.T) {
	texts := []string{"=1+1", "@cmd", "+3", "-x", "_x0041_", "<b>&amp;", " spaces ", "tab\there", "line\nline", "\U0001F600", "'quoted"}
	r := richRun(t, plan.NoCaveat)
	for i, s := range texts {
		r.Trials[i%2].Warnings = append(r.Trials[i%2].Warnings, s)
		r.Trials[0].Obs[0].Text = strings.Join(texts, "|")
	}
	dir := t.TempDir()
	if _, err := All(dir, results.Tabulate(r)); err != nil {
		t.Fatal(err)
	}
	f := open(t, filepath.Join(dir, "closer.xlsx"))
	have := map[string]bool{}
	for _, sheet := range []string{notesSheet, rawSheet} {
		rows, err := f.GetRows(sheet)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			for _, v := range row {
				have[v] = true
			}
		}
	}
	for _, s := range append(texts, strings.Join(texts, "|")) {
		if !have[s] {
			t.Errorf("%q did not come back", s)
		}
	}
}

func TestAMissingBarIsEmptyWithANote(t *testing.T) {
	dir := t.TempDir()
	if _, err := All(dir, results.Tabulate(richRun(t, plan.Simulated))); err != nil {
		t.Fatal(err)
	}
	f := open(t, filepath.Join(dir, "closer.xlsx"))
	rows, err := f.GetRows("fig5")
	if err != nil {
		t.Fatal(err)
	}
	notes := map[string]string{"resnet50": "invalid: batch size 32 per device was declared, 16 was in effect", "AlexNet": "excluded: the figure does not show it"}
	var head []string
	for _, row := range rows {
		if len(row) > 1 && row[0] == "model" {
			head = row
		}
		if len(row) < 2 || row[1] != "container-on-vm" || notes[row[0]] == "" {
			continue
		}
		for i, h := range head {
			if v := row[i]; h == "note" && v != notes[row[0]] || (h == "median" || h == "ratio" || h == "mean") && v != "" {
				t.Errorf("%s: %s is %q", row[0], h, v)
			}
		}
		delete(notes, row[0])
	}
	if len(notes) > 0 {
		t.Errorf("no bar of %v", notes)
	}
	for _, sheet := range []string{summarySheet, "fig5", "elapsed", provenanceSheet, notesSheet} {
		if v, err := f.GetCellValue(sheet, "A2"); err != nil || v != caveats[plan.Simulated] {
			t.Errorf("%s: the second row is %q, %v; want the caveat", sheet, v, err)
		}
	}
}

func TestAChartHoldsItsNumbers(t *testing.T) {
	b := results.Tabulate(richRun(t, plan.Sandbox))
	fs := &figureSheet{table: &b.Tables[1], plan: b.Run.Plan, name: "it's fig5", first: 30, plotted: "ratio"}
	fs.columns = figureColumns(fs)
	w := &workbook{book: b}
	out, err := marshalChart(w.chartOf(fs))
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Title  []string `xml:"chart>title>tx>rich>p>r>t"`
		Series []struct {
			Name   string   `xml:"tx>strRef>strCache>pt>v"`
			Labels []string `xml:"dLbls>dLbl>tx>rich>p>r>t"`
			Plus   []string `xml:"errBars>plus>numRef>numCache>pt>v"`
			Values []string `xml:"val>numRef>numCache>pt>v"`
			Ref    string   `xml:"val>numRef>f"`
		} `xml:"chart>plotArea>barChart>ser"`
		Min struct {
			Val string `xml:"val,attr"`
		} `xml:"chart>plotArea>valAx>scaling>min"`
	}
	if err := xml.Unmarshal(out, &c); err != nil {
		t.Fatal(err)
	}
	if len(c.Series) != 4 || c.Min.Val != "0" || !slices.Equal(c.Title, []string{"Single node, synthetic data [SANDBOX]"}) {
		t.Fatalf("got %+v", c)
	}
	bm, last := c.Series[0], c.Series[3]
	if !slices.Equal(bm.Labels, []string{"119.9", "211.7", "2890"}) || !slices.Equal(bm.Values, []string{"1", "1", "1"}) || len(bm.Plus) != 0 {
		t.Errorf("bm: %+v", bm)
	}
	if bm.Ref != "'it''s fig5'!$N$30:$N$32" {
		t.Errorf("got reference %s", bm.Ref)
	}
	if last.Name != "container-on-vm" || len(last.Values) != 1 || len(last.Plus) != 1 {
		t.Errorf("the last series, which has one bar: %+v", last)
	}
}

func TestLabelsTellFourDigits(t *testing.T) {
	for v, want := range map[float64]string{119.9: "119.9", 120: "120.0", 2890.4: "2890", 0: "0", 0.01234567: "0.01235", -17.718: "-17.72", 1e9: "1e+09", 1e-7: "1e-07", 99999: "99999"} {
		if got := labelText(v); got != want {
			t.Errorf("%v: got %s; want %s", v, got, want)
		}
	}
}

func TestFilesOfFiguresKeepClearOfTheOthers(t *testing.T) {
	r := richRun(t, plan.NoCaveat)
	for i, n := range []string{"Observations", "trials"} {
		r.Plan.Figures[i].Name = n
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine.csv"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	files, err := All(dir, results.Tabulate(r))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range files {
		got = append(got, filepath.Base(f))
	}
	want := []string{"Observations-2.csv", "closer.xlsx", "codebook.csv", "fig9.csv", "observations.csv", "trials-2.csv", "trials.csv"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v; want %v", got, want)
	}
	if _, err := os.Stat(filepath.Join(dir, "mine.csv")); err != nil {
		t.Error(err)
	}
}

func TestAxesMayBeCalledLikeColumns(t *testing.T) {
	r := richRun(t, plan.NoCaveat)
	r.Plan.Axes = append(r.Plan.Axes, plan.Axis{Name: "value", Values: []string{"1"}})
	o := observationsOf(r)
	if !slices.Contains(o.header, "axis_value") || slices.Index(o.header, "value") < slices.Index(o.header, "repeat") {
		t.Errorf("got %v", o.header)
	}
}

func TestWhatCannotBeWrittenIsSaid(t *testing.T) {
	dir := t.TempDir()
	blocked := filepath.Join(dir, "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b := results.Tabulate(richRun(t, plan.NoCaveat))
	if _, err := All(blocked, b); err == nil {
		t.Error("a folder that is a file")
	}
	if err := os.MkdirAll(filepath.Join(dir, "fig5.csv", "x"), 0o755); err != nil { // a folder in the way
		t.Fatal(err)
	}
	files, err := All(dir, b)
	if err == nil || !strings.Contains(err.Error(), "fig5.csv") || len(files) != 4 {
		t.Errorf("got %v, %v; want the files before it, and its name", files, err)
	}
}

func TestTooManyRowsAreAnErrorThatSaysSo(t *testing.T) {
	w := &workbook{f: excelize.NewFile()}
	err := w.write(&sheet{name: "Sheet1"}, maxRows+1, nil)
	if err == nil || !strings.Contains(err.Error(), "1048577 rows do not fit") {
		t.Errorf("got %v", err)
	}
}

func TestObservationsOfTrialsThatDoNotCountAreLeftOut(t *testing.T) {
	r := richRun(t, plan.NoCaveat)
	n := len(observationsOf(r).rows)
	r.Trials[0].State = journal.Failed
	if got := len(observationsOf(r).rows); got != n-2 {
		t.Errorf("got %d rows; want %d", got, n-2)
	}
}
