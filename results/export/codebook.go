package export

import (
	"io"
	"slices"

	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/results"
)

// guardNote stands in the codebook and in the workbook's notes.
const guardNote = "In the CSV files a text that begins with = + - @, a tab or a carriage return has an apostrophe before it, so that no spreadsheet takes it for a formula. Numbers are never changed."

// column describes one column of the CSV files.
type column struct{ file, name, kind, unit, meaning string }

func codebook() []column {
	const obs, tri, fig = "observations.csv", "trials.csv", "<figure>.csv"
	return []column{
		{obs, "run", "text", "", "identity of the run"},
		{obs, "trial", "text", "", "cell and repeat; also the folder below logs/"},
		{obs, "block", "text", "", "scenario of the study"},
		{obs, "repeat", "integer", "", "repetition of the cell, from 1"},
		{obs, "attempts", "integer", "", "attempts until the trial succeeded"},
		{obs, "metric", "text", "", "what was measured"},
		{obs, "value", "number", "see unit", "the measurement"},
		{obs, "unit", "text", "", "of value"},
		{obs, "role", "text", "", "role of the process that it was read from"},
		{obs, "index", "integer", "", "index of that process in its role, from 0"},
		{obs, "machine", "text", "", "machine of that process"},
		{obs, "host", "text", "", "physical host of that machine; empty if the provider does not say"},
		{obs, "caveat", "text", "", "sandbox: all machines were processes of one computer; simulated: the numbers come from a model; empty: neither"},
		{obs, "how", "text", "", "how several readings became one"},
		{obs, "file", "text", "", "where it was read, relative to the run folder"},
		{obs, "line", "integer", "", "line of that file, from 1"},
		{obs, "text", "text", "", "the line, cut to 200 bytes"},
		{tri, "state", "text", "", "done, failed, skipped, canceled or not run"},
		{tri, "class", "text", "", "class of the failure"},
		{tri, "attempts", "integer", "", "attempts so far"},
		{tri, "<span>_s", "number", "s", "duration of that part of the last attempt"},
		{tri, "background_covered", "number", "", "share of the measured roles' time in which the background roles ran; empty if there are none"},
		{tri, "warnings", "text", "", "doubts about the trial's numbers"},
		{tri, "error", "text", "", "why it failed"},
		{fig, "row", "text", "", "value of the figure's row axis"},
		{fig, "column", "text", "", "value of the figure's column axis"},
		{fig, "cell", "text", "", "cell of the bar; empty if the study has none"},
		{fig, "n", "integer", "", "values"},
		{fig, "missing", "integer", "", "repeats without a value"},
		{fig, "median", "number", "see unit", "median of the values"},
		{fig, "lo", "number", "see unit", "rank confidence interval of the median, lower bound; empty below 6 values"},
		{fig, "hi", "number", "see unit", "upper bound"},
		{fig, "level", "number", "1", "exact confidence of lo to hi, at least 0.95"},
		{fig, "mean", "number", "see unit", "mean of the kind that mean_kind says"},
		{fig, "mean_kind", "text", "", "harmonic (rates) or arithmetic"},
		{fig, "sd", "number", "see unit", "standard deviation with n-1 around the arithmetic mean; empty below 2 values"},
		{fig, "unit", "text", "", "of median, lo, hi, mean, sd and baseline_median"},
		{fig, "baseline_cell", "text", "", "cell that the ratio compares with"},
		{fig, "baseline_median", "number", "see unit", "its median"},
		{fig, "ratio", "number", "1", "median / baseline_median"},
		{fig, "ratio_lo", "number", "1", ratioMethod()},
		{fig, "ratio_hi", "number", "1", "upper bound"},
		{fig, "ratio_level", "number", "1", "confidence of ratio_lo to ratio_hi"},
		{fig, "degradation", "number", "", "ratio - 1, in figures that show it"},
		{fig, "reference", "number", "see unit", "the number from elsewhere for this cell, see the notes of the workbook for its source"},
		{fig, "reference_ratio", "number", "", "reference / the reference number of the baseline cell"},
		{fig, "caveat", "text", "", "as in observations.csv"},
		{fig, "note", "text", "", "why there is no number or no ratio"},
		{"*", "*", "text", "", guardNote},
	}
}

func ratioMethod() string {
	return "percentile bootstrap interval of the ratio of medians, both sides drawn " + numeral(results.BootstrapDraws) +
		" times with seed " + numeral(results.BootstrapSeed) + ", lower bound; empty below 6 values on either side, and for the baseline itself"
}

func writeCodebook(w io.Writer, o *observations) error {
	c := newCSV(w)
	c.header([]string{"file", "column", "type", "unit", "meaning"})
	put := func(x column) {
		c.row([]value{text(x.file), text(x.name), text(x.kind), text(x.unit), text(x.meaning)})
	}
	for _, x := range codebook() {
		put(x)
		if x.file == "observations.csv" && x.name == "block" {
			first := len(columnsBefore)
			for i, a := range o.axes {
				kind := "text"
				k := slices.IndexFunc(o.run.Plan.Axes, func(p plan.Axis) bool { return p.Name == a })
				if k >= 0 && o.run.Plan.Axes[k].Number {
					kind = "number"
				}
				put(column{"observations.csv", o.header[first+i], kind, "", "value of the axis " + a + "; empty if the cell does not have it"})
			}
		}
	}
	return c.flush()
}
