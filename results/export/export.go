// Package export writes books: tidy CSV files, and an Excel workbook with live formulas and
// native charts.
//
// The same book gives the same bytes: no clock, no map order, no path of this machine. Numbers
// are written in the shortest form that reads back the same; what is missing is an empty field,
// never 0. A book whose machines were processes of one computer, or whose numbers come from a
// model, says so in every file.
package export

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"

	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/results"
)

// All writes every form of a book into dir and returns the files, as dir/name, sorted:
// observations.csv, trials.csv, <figure>.csv, codebook.csv and <study>.xlsx.
//
// Each file is replaced as a whole or not at all, and nothing else in dir is touched. When a file
// cannot be written, those before it are and are returned with the error.
func All(dir string, b *results.Book) (files []string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	o := observationsOf(b.Run)
	outs := []output{
		{"observations.csv", func(w *file) error { return writeObservations(w, o) }},
		{"trials.csv", func(w *file) error { return writeTrials(w, b.Run) }},
		{"codebook.csv", func(w *file) error { return writeCodebook(w, o) }},
	}
	taken := names{max: 128}
	for i := range outs {
		taken.reserve(outs[i].name)
	}
	for i := range b.Tables {
		t := &b.Tables[i]
		outs = append(outs, output{taken.unique(t.Figure.Name, ".csv"), func(w *file) error { return writeFigure(w, b.Run.Plan.Caveat, t) }})
	}
	outs = append(outs, output{b.Run.Plan.Study + ".xlsx", func(w *file) error { return writeWorkbook(w, b, o) }})
	for _, out := range outs {
		name := filepath.Join(dir, out.name)
		if err := write(name, out.write); err != nil {
			slices.Sort(files)
			return files, fmt.Errorf("export: %s: %w", name, err)
		}
		files = append(files, name)
	}
	slices.Sort(files)
	return files, nil
}

type output struct {
	name  string
	write func(w *file) error
}

// A file is one that is being written beside its place.
type file struct{ *renameio.PendingFile }

func write(name string, fill func(w *file) error) (err error) {
	p, err := renameio.NewPendingFile(name, renameio.WithPermissions(0o644), renameio.WithExistingPermissions())
	if err != nil {
		return err
	}
	defer p.Cleanup() //nolint:errcheck // it is gone already, or there is an error to report
	if err := fill(&file{p}); err != nil {
		return err
	}
	return p.CloseAtomicallyReplace()
}

// caveats are the sentences that stand on top of every page.
var caveats = map[plan.Caveat]string{
	plan.Sandbox:   "SANDBOX: All machines were processes of one computer: a difference between orchestrations means nothing here.",
	plan.Simulated: "SIMULATED: No program ran: the numbers come from a performance model, and a difference between orchestrations means nothing here.",
}

// names gives out names that differ also where upper and lower case are the same.
type names struct {
	max  int // in UTF-16 units, as Excel counts
	seen map[string]bool
}

func (n *names) reserve(name string) bool {
	if n.seen == nil {
		n.seen = map[string]bool{}
	}
	k := strings.ToLower(name)
	if n.seen[k] {
		return false
	}
	n.seen[k] = true
	return true
}

// unique returns base+ext, or base-2+ext and so on if that is taken.
func (n *names) unique(base, ext string) string {
	for i := 1; ; i++ {
		suffix := ""
		if i > 1 {
			suffix = fmt.Sprintf("-%d", i)
		}
		name := cutUTF16(base, n.max-len(suffix)-len(ext)) + suffix + ext
		if n.reserve(name) {
			return name
		}
	}
}

// cutUTF16 cuts s to at most limit UTF-16 units, at a rune.
func cutUTF16(s string, limit int) string {
	units := 0
	for i, r := range s {
		units++
		if r > 0xFFFF {
			units++
		}
		if units > limit {
			return s[:i]
		}
	}
	return s
}
