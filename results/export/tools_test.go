package export

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/xuri/excelize/v2"

	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/results"
)

// required skips a test whose tool is not there, unless DLX_TEST_REQUIRE demands it.
func required(t *testing.T, tool string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err == nil {
		return
	}
	if slices.Contains(strings.Split(os.Getenv("DLX_TEST_REQUIRE"), ","), "workbook") {
		t.Fatalf("%s is not in PATH, and DLX_TEST_REQUIRE demands it: make workbook-tools", tool)
	}
	t.Skipf("%s is not in PATH: make workbook-tools", tool)
}

// books are what the tools have to understand: with every caveat, and without a figure.
func books(t *testing.T) map[string]*results.Book {
	none := richRun(t, plan.NoCaveat)
	none.Plan.Figures = nil
	return map[string]*results.Book{
		"hostile": results.Tabulate(testRun()), "sandbox": results.Tabulate(richRun(t, plan.Sandbox)),
		"simulated": results.Tabulate(richRun(t, plan.Simulated)), "no-figures": results.Tabulate(none),
	}
}

func TestTheOpenXMLValidatorAcceptsTheWorkbook(t *testing.T) {
	required(t, "ooxml-validator")
	for name, b := range books(t) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := All(dir, b); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), "ooxml-validator", filepath.Join(dir, b.Run.Plan.Study+".xlsx")).CombinedOutput()
			var verdict struct {
				OK bool `json:"ok"`
			}
			if e := json.Unmarshal(out, &verdict); err != nil || e != nil || !verdict.OK {
				t.Errorf("%v %v\n%s", err, e, out)
			}
		})
	}
}

// TestLibreOfficeCalculatesWhatIsCached takes the cached values out of a workbook, has another
// program calculate them again, and compares with the cached ones and with the CSV files.
func TestLibreOfficeCalculatesWhatIsCached(t *testing.T) {
	required(t, "soffice")
	dir := t.TempDir()
	b := results.Tabulate(richRun(t, plan.Sandbox))
	if _, err := All(dir, b); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "closer.xlsx")
	bare := filepath.Join(dir, "bare", "closer.xlsx")
	if n := withoutCaches(t, name, bare); n == 0 {
		t.Fatal("no cached value was found")
	}
	again := recalculate(t, bare)

	want, got := open(t, name), open(t, again)
	checked := 0
	for _, sheet := range want.GetSheetList() {
		rows, err := want.GetRows(sheet, excelize.Options{RawCellValue: true})
		if err != nil {
			t.Fatal(err)
		}
		for r, row := range rows {
			for c, v := range row {
				cell, _ := excelize.CoordinatesToCellName(c+1, r+1)
				f, err := want.GetCellFormula(sheet, cell)
				if err != nil {
					t.Fatal(err)
				}
				if f == "" || strings.HasPrefix(f, "HYPERLINK") {
					continue
				}
				calculated, err := got.GetCellValue(sheet, cell, excelize.Options{RawCellValue: true})
				if err != nil || !close9(calculated, v) {
					t.Errorf("%s!%s: =%s is %q by LibreOffice, %q cached; %v", sheet, cell, f, calculated, v, err)
				}
				checked++
			}
		}
	}
	// In each figure 10 medians; elapsed has 9 pairs of error bars' ends (2 values have no
	// interval); fig5 has 11 medians of the baseline, 10 ratios and 6 pairs (nor has the baseline);
	// fig9 has the same and 10 degradations; the summary has 30.
	if want := 10 + 18 + 10 + 11 + 10 + 12 + 10 + 11 + 10 + 12 + 10 + 30; checked != want {
		t.Errorf("%d formulas were compared; want %d", checked, want)
	}
	for i := range b.Tables {
		compareWithCSV(t, got, dir, &b.Tables[i], b.Run.Plan)
	}
}

// compareWithCSV compares a figure's sheet as LibreOffice calculated it with its CSV file.
func compareWithCSV(t *testing.T, f *excelize.File, dir string, table *results.Table, p *plan.Plan) {
	t.Helper()
	name := table.Figure.Name
	want := map[string]map[string]string{}
	fs := &figureSheet{table: table, plan: p}
	for _, w := range figureCSV(t, filepath.Join(dir, name+".csv")) { // the workbook shows labels
		want[fs.rowLabel(w["row"])+"/"+fs.label(table.Figure.Columns, w["column"])] = w
	}
	rows, err := f.GetRows(name, excelize.Options{RawCellValue: true})
	if err != nil {
		t.Fatal(err)
	}
	columns := map[string]string{"median": "median", "lo": "lo", "hi": "hi", "mean": "mean", "sd": "sd", "n": "n", "missing": "missing",
		"median of Bare metal": "baseline_median", "ratio - 1": "degradation", "reference": "reference", "ratio in the reference": "reference_ratio", "ratio": "ratio", "ratio lo (bootstrap)": "ratio_lo", "ratio hi (bootstrap)": "ratio_hi"}
	var head []string
	seen := 0
	for _, row := range rows {
		if len(row) > 1 && row[0] == strings.Join(table.Figure.Rows, ", ") && row[1] == table.Figure.Columns {
			head = row
			continue
		}
		if len(row) < 2 || head == nil || want[row[0]+"/"+row[1]] == nil {
			continue
		}
		seen++
		w := want[row[0]+"/"+row[1]]
		for i, h := range head {
			cell := ""
			if i < len(row) {
				cell = row[i]
			}
			if column, ok := columns[h]; ok && cell != w[column] && !close9(cell, w[column]) {
				t.Errorf("figure %s, %s/%s: %s is %q in the workbook, %q in the CSV", name, row[0], row[1], h, cell, w[column])
			}
		}
	}
	if seen != len(want) {
		t.Errorf("figure %s: %d bars in the workbook, %d in the CSV", name, seen, len(want))
	}
}

// cached is the value beside a formula.
var cached = regexp.MustCompile(`</f><v>[^<]*</v>`)

// withoutCaches copies a workbook without the cached values of its formulas.
func withoutCaches(t *testing.T, from, to string) (n int) {
	t.Helper()
	r, err := zip.OpenReader(from)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, f := range r.File {
		rc, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(rc)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(f.Name, "xl/worksheets/") {
			n += len(cached.FindAll(b, -1))
			b = cached.ReplaceAll(b, []byte("</f>"))
		}
		p, err := w.Create(f.Name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return n
}

// recalculate converts a workbook with LibreOffice and returns the new file.
func recalculate(t *testing.T, name string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out := t.TempDir()
	cmd := exec.CommandContext(ctx, "soffice", "-env:UserInstallation=file://"+filepath.Join(t.TempDir(), "profile"), "--headless",
		"--convert-to", "xlsx:Calc MS Excel 2007 XML", "--outdir", out, name)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return filepath.Join(out, filepath.Base(name))
}

func open(t *testing.T, name string) *excelize.File {
	t.Helper()
	f, err := excelize.OpenFile(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func close9(a, b string) bool {
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	return errX == nil && errY == nil && math.Abs(x-y) <= 1e-9*math.Abs(y)
}

// figureCSV reads the bars of a figure, by row/column.
func figureCSV(t *testing.T, file string) map[string]map[string]string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(b)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]map[string]string{}
	for _, row := range rows[1:] {
		m := map[string]string{}
		for i, h := range rows[0] {
			m[h] = row[i]
		}
		out[m["row"]+"/"+m["column"]] = m
	}
	return out
}
