// Package results turns the observations of a run into statistics, tables and a book.
//
// Everything here is a pure function of the run folder: a book can be remade from it years later
// without a cloud. Package parse reads the output of workloads, package export writes books.
package results

import (
	"time"

	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
)

// A Trial is one repeat of a cell of the plan, with what became of it.
type Trial struct {
	Cell     int           // index into the plan's cells
	Repeat   int           // from 1
	State    journal.State // Done if its observations count; "" if it was never tried
	Class    string
	Error    string
	Attempts int
	Procs    []journal.Proc
	Machines []journal.MachineFact
	Spans    []journal.Span
	Warnings []string
	Obs      []journal.Observation
}

// A Run is a plan with all that happened: the input of [Tabulate].
type Run struct {
	ID      string
	Plan    *plan.Plan
	Digest  string    // of the plan
	Version string    // of the dlx that ran it last
	Started time.Time // first event
	Ended   time.Time // last event
	Trials  []Trial   // by cell, then repeat; every trial of the plan is here once
	Left    []string  // objects that the ledger does not know to be gone
}

// A Sample is the values of one metric over the repeats of a cell.
type Sample struct {
	Values   []float64 // by repeat; finite
	Repeats  []int     // the repeat of each value
	N        int       // len(Values)
	Missing  int       // repeats that the plan wants and that have no value
	Center   float64   // the median
	Lo, Hi   float64   // rank confidence interval of the median; equal to Center where N allows none
	Level    float64   // confidence of Lo..Hi; 0 where N allows none
	Mean     float64   // harmonic if Harmonic, else arithmetic
	Harmonic bool      // the metric is a rate and all values are above 0
	SD       float64   // with n-1, around the arithmetic mean; 0 below two values
	Warnings []string  // to be shown with the number
}

// A Point is one bar of a figure.
type Point struct {
	Row, Column      string
	Cell             string // name of the cell; "" if the figure selects none here
	Sample           Sample
	Base             *Sample // of the baseline cell; nil without baseline
	BaseCell         string  // name of the baseline cell; Cell itself where this bar is the baseline
	Ratio            float64 // Center / Base.Center; 0 where either is missing or the latter is 0
	RatioLo, RatioHi float64 // bootstrap interval, see [RatioInterval]; equal to Ratio where there is none
	RatioLevel       float64 // of RatioLo..RatioHi; 0 where there is none
	Ref              *Ref    // the number from elsewhere; nil if there is none
	Note             string  // why there is no number, or no ratio; empty if there is all that was asked for
}

// Shown is the height of the bar in a figure that shows its metric in a way of plan.Figure.As, and
// its interval; ok is false where there is none.
func (p *Point) Shown(as string) (v, lo, hi float64, interval, ok bool) {
	if as == plan.Absolute {
		return p.Sample.Center, p.Sample.Lo, p.Sample.Hi, p.Sample.Level > 0, p.Sample.N > 0
	}
	off := 0.0
	if as == plan.Degradation {
		off = 1
	}
	return p.Ratio - off, p.RatioLo - off, p.RatioHi - off, p.RatioLevel > 0, p.HasRatio()
}

// HasRatio reports whether the Ratio is one: a median of 0 has ratio 0 as well.
func (p *Point) HasRatio() bool {
	return p.Sample.N > 0 && p.Base != nil && p.Base.N > 0 && p.Base.Center != 0
}

// A Ref is what was published elsewhere for a cell.
type Ref struct {
	Value float64
	Ratio float64 // Value / the baseline's; 0 where that has no reference number, or it is 0
	Note  string
}

// A Table is a figure with its numbers: Points[r][c] belongs to Rows[r] and Columns[c].
type Table struct {
	Figure   plan.Figure
	Metric   plan.Metric
	Rows     []string
	Columns  []string
	Points   [][]Point
	Warnings []string
	Notes    []string // footnotes: exclusions with their reasons, failed cells
}

// A Book is all tables of a run: the input of the exporters.
type Book struct {
	Run      *Run
	Tables   []Table // by figure name, fig2 before fig10
	Warnings []string
}
