package parse

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
)

// The lines of tf_cnn_benchmarks, from the format strings in benchmark_cnn.py of
// tensorflow/benchmarks (branches 1.5 to 2.1). cnnbench prints the same.
const num = `(?:\d+(?:\.\d+)?|nan|inf)`

var (
	stepRE    = regexp.MustCompile(`^(\d+)\timages/sec: (` + num + `) \+/- (` + num + `) \(jitter = (` + num + `)\)\t(-?` + num + `)(?:\t` + num + `\t` + num + `)?\s*$`)
	totalRE   = regexp.MustCompile(`^total images/sec: (\d+\.\d\d|nan|inf)\s*$`) // printed with %.2f: one with fewer digits was cut off
	batchRE   = regexp.MustCompile(`^Batch size:\s+(\d+) global\s*$`)
	perDevRE  = regexp.MustCompile(`^\s+(\d+(?:\.\d+)?) per device\s*$`)
	bannerRE  = regexp.MustCompile(`^(TensorFlow|Model|Dataset|Mode|SingleSess|Num batches|Num epochs|Devices|NUMA bind|Data format|Layout optimizer|RewriterConfig|Optimizer|Variables|AllReduce|Use NCCL|Sync|Staged vars|Horovod on):\s+(.*\S)\s*$`)
	deviceSep = regexp.MustCompile(`'[^']*'`)
)

// A Log is what one process of tf_cnn_benchmarks printed.
type Log struct {
	Banner    map[string]string
	Batch     int     // images a step, all devices of all workers; 0 if not printed
	PerDevice float64 // images a step and device
	Steps     []StepLine
	Totals    []TotalLine
	Skipped   int // lines that were too long to be any of these
}

// A StepLine is a progress line. Mean is cumulative since the end of warm-up, in images/s of
// this process; SE is the standard error and Jitter 1.4826 x MAD of the single steps' speeds.
type StepLine struct {
	Line                   int
	Step                   int
	Mean, SE, Jitter, Loss float64
	Text                   string
}

// A TotalLine is the last line's number. What it means depends on the mode: with parameter
// servers every worker prints the cluster's total, so totals are never added up.
type TotalLine struct {
	Line  int
	Value float64
	Text  string
}

// ReadTFCNN reads the output of one process. Foreign lines are ignored: other libraries print
// too. It fails only if r does.
func ReadTFCNN(r io.Reader) (*Log, error) {
	l := &Log{Banner: map[string]string{}}
	skipped, err := lines(r, func(n int, line string) {
		switch {
		case l.step(n, line), l.total(n, line):
		default:
			if m := batchRE.FindStringSubmatch(line); m != nil {
				l.Batch, _ = strconv.Atoi(m[1])
			} else if m := perDevRE.FindStringSubmatch(line); m != nil {
				l.PerDevice, _ = strconv.ParseFloat(m[1], 64)
			} else if m := bannerRE.FindStringSubmatch(line); m != nil {
				if _, ok := l.Banner[m[1]]; !ok { // the banner comes first; later look-alikes are not it
					l.Banner[m[1]] = m[2]
				}
			}
		}
	})
	l.Skipped = skipped
	return l, err
}

func (l *Log) step(n int, line string) bool {
	m := stepRE.FindStringSubmatch(line)
	if m == nil {
		return false
	}
	s := StepLine{Line: n, Text: line}
	s.Step, _ = strconv.Atoi(m[1])
	s.Mean, s.SE, s.Jitter, s.Loss = number(m[2]), number(m[3]), number(m[4]), number(m[5])
	l.Steps = append(l.Steps, s)
	return true
}

func (l *Log) total(n int, line string) bool {
	m := totalRE.FindStringSubmatch(line)
	if m == nil {
		return false
	}
	l.Totals = append(l.Totals, TotalLine{Line: n, Value: number(m[1]), Text: line})
	return true
}

func number(s string) float64 {
	f, _ := strconv.ParseFloat(s, 64) // the patterns let only numbers, nan and inf through
	return f
}

// Interval returns the images/s between two step lines, recovered from their cumulative means:
// T_k = k B / mean_k is the time until step k, and the rate is (k-j) B / (T_k - T_j). ok is false
// where the lines do not tell.
func Interval(batch int, from, to StepLine) (rate float64, ok bool) {
	if to.Step <= from.Step || from.Mean <= 0 || to.Mean <= 0 || batch <= 0 {
		return 0, false
	}
	b := float64(batch)
	t := float64(to.Step)*b/to.Mean - float64(from.Step)*b/from.Mean
	if t <= 0 || math.IsNaN(t) || math.IsInf(t, 0) {
		return 0, false
	}
	return float64(to.Step-from.Step) * b / t, true
}

// steadySteps is how many step lines make a process steady: the first comes with the first step
// after warm-up, the second shows that it goes on.
const steadySteps = 2

func steadyTFCNN(_ *plan.Workload, output []byte) bool {
	n := 0
	for _, line := range wholeLines(output) {
		if stepRE.MatchString(line) {
			n++
		}
	}
	return n >= steadySteps
}

// How far totals of synchronous workers may differ before the trial is invalid. Each estimates the
// cluster's from its own steps, which take equally long; but each looks at its own clock when it
// gets to run, and what that makes is much in a window of a second and nothing in one of minutes.
const (
	agreement = 0.02
	skew      = 0.05 // seconds
)

// tolerance is how far the totals of workers may differ, as a share of their mean.
func (l *Log) tolerance(mean float64) float64 {
	if n := len(l.Steps); n > 0 && l.Batch > 0 {
		return agreement + skew*mean/float64(l.Batch*l.Steps[n-1].Step)
	}
	return agreement
}

// readTFCNN reads the workers of a trial: throughput is the mean of their totals, never the sum.
func readTFCNN(t *Trial) (Reading, error) {
	var r Reading
	var totals []float64
	var first *journal.Proc
	var firstLog *Log
	var firstFile string
	for i := range t.Procs {
		p := &t.Procs[i]
		switch finishOf(t.Cell, p.Role) {
		case plan.Exits:
		case plan.Background:
			if err := readBackground(t, p, &r); err != nil {
				return r, err
			}
			continue
		default:
			continue // a parameter server prints no numbers
		}
		f, name, err := t.open(p, backends.Stdout)
		if err != nil {
			return r, err
		}
		l, err := ReadTFCNN(f)
		f.Close()
		if err != nil {
			return r, fmt.Errorf("%s: %w", name, err)
		}
		if err := l.complete(); err != nil {
			return r, fmt.Errorf("%s: %w", name, err)
		}
		if bad := l.contradiction(t.Cell, p.Role); bad != "" {
			r.Invalid = fmt.Sprintf("%s-%d: %s", p.Role, p.Index, bad)
		}
		totals = append(totals, l.Totals[0].Value)
		if first == nil {
			first, firstLog, firstFile = p, l, name
		}
		r.Warnings = append(r.Warnings, l.doubts()...)
	}
	if first == nil {
		return r, errors.New("no role that exits, so nobody prints a total")
	}
	sum, lo, hi := 0.0, totals[0], totals[0]
	for _, v := range totals {
		sum, lo, hi = sum+v, min(lo, v), max(hi, v)
	}
	mean := sum / float64(len(totals))
	how := "total of the only worker"
	if len(totals) > 1 {
		how = fmt.Sprintf("mean of the totals of %d workers, each of which estimates the cluster's", len(totals))
		if hi-lo > firstLog.tolerance(mean)*mean {
			r.Invalid = fmt.Sprintf("the totals of synchronous workers differ by %.1f %% (%g to %g images/s): they were not one cluster", 100*(hi-lo)/mean, lo, hi)
		}
	}
	if len(totals) > 1 && alone(flagsOf(t.Cell, first.Role)) {
		r.Invalid = fmt.Sprintf("%d processes without job_name: each trained alone, and its total is its own", len(totals))
	}
	tl := firstLog.Totals[0]
	obs := func(metric, unit string, v float64, line int, text, how string) {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			r.Observations = append(r.Observations, journal.Observation{
				Metric: metric, Value: v, Unit: unit, Role: first.Role, Index: first.Index, File: firstFile, Line: line, Text: cut(text), How: how,
			})
		}
	}
	obs("throughput", "images/s", mean, tl.Line, tl.Text, how)
	if n := len(firstLog.Steps); n > 0 {
		s := firstLog.Steps[n-1]
		obs("loss", "1", s.Loss, s.Line, s.Text, "last step line")
		obs("jitter", "images/s", s.Jitter, s.Line, s.Text, "last step line")
		obs("step_se", "images/s", s.SE, s.Line, s.Text, "last step line")
	}
	return r, nil
}

// readBackground notes the rate of a background process at its last step line, and whether it did
// what was declared. It was stopped, so that it prints no total.
func readBackground(t *Trial, p *journal.Proc, r *Reading) error {
	f, name, err := t.open(p, backends.Stdout)
	if err != nil {
		return err
	}
	defer f.Close()
	l, err := ReadTFCNN(f)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if bad := l.contradiction(t.Cell, p.Role); bad != "" {
		r.Invalid = fmt.Sprintf("%s-%d: %s", p.Role, p.Index, bad)
	}
	n := len(l.Steps)
	if n == 0 {
		return fmt.Errorf("%s: no step line: it did not train", name)
	}
	if s := l.Steps[n-1]; !math.IsNaN(s.Mean) && !math.IsInf(s.Mean, 0) {
		r.Observations = append(r.Observations, journal.Observation{
			Metric: BackgroundRate, Value: s.Mean, Unit: "images/s", Role: p.Role, Index: p.Index,
			File: name, Line: s.Line, Text: cut(s.Text), How: "last step line of the background process",
		})
	}
	return nil
}

// complete reports output that cannot be the whole of a run that went well.
func (l *Log) complete() error {
	switch {
	case len(l.Totals) == 0 && len(l.Steps) == 0:
		return errors.New("no \"total images/sec\" and no step line: the program did not train")
	case len(l.Totals) == 0:
		return fmt.Errorf("no \"total images/sec\": it ended after step %d", l.Steps[len(l.Steps)-1].Step)
	case len(l.Totals) > 1:
		return fmt.Errorf("%d lines \"total images/sec\": more than one run in one file", len(l.Totals))
	case math.IsNaN(l.Totals[0].Value) || math.IsInf(l.Totals[0].Value, 0) || l.Totals[0].Value <= 0:
		return fmt.Errorf("line %d: %q is no rate", l.Totals[0].Line, l.Totals[0].Text)
	}
	return nil
}

// flagsOf reads the flags of a role that are known when the trial is planned.
func flagsOf(c *plan.Cell, role string) map[string]string {
	flags := map[string]string{}
	for i := range c.Roles {
		if c.Roles[i].Name == role {
			for _, a := range c.Roles[i].Args {
				if name, v, ok := strings.Cut(strings.TrimPrefix(a.Text, "--"), "="); ok && strings.HasPrefix(a.Text, "--") && a.Late == nil {
					flags[name] = v
				}
			}
		}
	}
	return flags
}

// alone reports whether a process with these flags trains by itself, whoever runs beside it: its
// total is then its own, not that of a cluster.
func alone(flags map[string]string) bool {
	return flags["job_name"] == "" && flags["variable_update"] != "horovod"
}

// printedNames are the names that models print where they differ from those of the flag.
var printedNames = map[string]string{"lenet": "lenet5"}

// contradiction compares what the program says it did with the flags it was given.
func (l *Log) contradiction(c *plan.Cell, role string) string {
	flags := flagsOf(c, role)
	if want, got := cmp.Or(printedNames[flags["model"]], flags["model"]), l.Banner["Model"]; want != "" && got != "" && want != got {
		return fmt.Sprintf("model %s was declared, %s was trained", want, got)
	}
	if want, err := strconv.ParseFloat(flags["batch_size"], 64); err == nil && want > 0 && l.PerDevice > 0 && want != l.PerDevice {
		return fmt.Sprintf("batch size %g per device was declared, %g was in effect", want, l.PerDevice)
	}
	if want, got := flags["num_batches"], l.Banner["Num batches"]; want != "" && got != "" && want != got {
		return fmt.Sprintf("%s batches were declared, %s were in effect", want, got)
	}
	ofAll := l.Banner["Variables"] == "horovod" || l.Banner["Variables"] == "distributed_all_reduce" // these list the devices of all workers
	if want, got := flags["num_gpus"], len(deviceSep.FindAllString(l.Banner["Devices"], -1)); !ofAll && want != "" && got > 0 && want != strconv.Itoa(got) {
		return fmt.Sprintf("%s devices were declared, %d were in effect (%s)", want, got, l.Banner["Devices"])
	}
	if want, got := flags["optimizer"], l.Banner["Optimizer"]; want != "" && got != "" && want != got {
		return fmt.Sprintf("optimizer %s was declared, %s was in effect", want, got)
	}
	if want, got := flags["data_format"], l.Banner["Data format"]; want != "" && got != "" && want != got {
		return fmt.Sprintf("data format %s was declared, %s was in effect", want, got)
	}
	if want, got := flags["variable_update"], l.Banner["Variables"]; want != "" && got != "" && want != got {
		return fmt.Sprintf("variable update %s was declared, %s was in effect", want, got)
	}
	synthetic := strings.Contains(l.Banner["Dataset"], "synthetic")
	if d, ok := c.Value("dataset"); ok && l.Banner["Dataset"] != "" && synthetic != (d == "synthetic") {
		return fmt.Sprintf("dataset %s was declared, %s was in effect", d, l.Banner["Dataset"])
	}
	return ""
}

// stall is how slow an interval may be, as a share of the mean rate, before a warning is due.
const stall = 0.5

// doubts are what a reader of the number should know.
func (l *Log) doubts() []string {
	var out []string
	if l.Skipped > 0 {
		out = append(out, skippedText(l.Skipped))
	}
	if n := len(l.Steps); n > 0 && (math.IsNaN(l.Steps[n-1].Loss) || math.IsInf(l.Steps[n-1].Loss, 0)) {
		out = append(out, "the loss is not a number at the end: usual with synthetic data, fatal with real data")
	}
	for i := 1; i < len(l.Steps); i++ {
		rate, ok := Interval(l.Batch, l.Steps[i-1], l.Steps[i])
		if ok && rate < stall*l.Steps[len(l.Steps)-1].Mean {
			out = append(out, fmt.Sprintf("between steps %d and %d it ran at %.1f images/s, less than half of its mean: a stall or interference",
				l.Steps[i-1].Step, l.Steps[i].Step, rate))
			break
		}
	}
	return out
}
