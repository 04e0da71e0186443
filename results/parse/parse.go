// Package parse reads the output of workloads: one file a format, one line in [Parsers] each.
//
// A parser returns what it read with the place of every number, the configuration that was in
// effect, and doubts. It never guesses: what is not there is an error, and what contradicts the
// declared configuration makes the trial invalid.
package parse

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
)

// A Trial is what there is to be read. Its processes name their files in the run folder.
type Trial struct {
	Workload *plan.Workload
	Cell     *plan.Cell
	Procs    []journal.Proc
	Dir      string // the run folder
}

// A Reading is what was found.
type Reading struct {
	Observations []journal.Observation
	Warnings     []string
	Invalid      string // why the numbers must not count
}

// A Parser reads one format.
type Parser struct {
	Name    string
	Metrics []string // all that it may report; nil: those that the workload's patterns name
	Read    func(t *Trial) (Reading, error)
	// Steady reports whether a process that printed this so far has got into its stride.
	Steady func(w *plan.Workload, output []byte) bool
}

// Parsers lists all formats.
func Parsers() []Parser {
	return []Parser{
		{Name: "tf_cnn_benchmarks", Metrics: []string{"throughput", "loss", "jitter", "step_se", BackgroundRate, "elapsed"}, Read: readTFCNN, Steady: steadyTFCNN},
		{Name: "pattern", Read: readPatterns, Steady: steadyPatterns},
	}
}

// Steady reports whether a process of the workload has got into its stride, by what it printed so
// far; false for an unknown parser.
func Steady(w *plan.Workload, output []byte) bool {
	ps := Parsers()
	i := slices.IndexFunc(ps, func(p Parser) bool { return p.Name == w.Parser })
	return i >= 0 && ps[i].Steady(w, output)
}

// wholeLines are the lines of an output that are complete.
func wholeLines(output []byte) []string {
	text := string(output)
	return strings.Split(text[:strings.LastIndexByte(text, '\n')+1], "\n")
}

// BackgroundRate is the metric that trials with a background role of tf_cnn_benchmarks yield: its
// images/s.
const BackgroundRate = "background_throughput"

// Elapsed is the metric that every trial yields: the seconds from the start of its first process
// to the end of its last one that exits by itself, on the machines' own clocks.
const Elapsed = "elapsed"

// Read reads a trial with the parser its workload names and adds Elapsed. A trial without the
// numbers its parser promises is an error.
func Read(t *Trial) (Reading, error) {
	ps := Parsers()
	i := slices.IndexFunc(ps, func(p Parser) bool { return p.Name == t.Workload.Parser })
	if i < 0 {
		return Reading{}, fmt.Errorf("parser %q: unknown", t.Workload.Parser)
	}
	r, err := ps[i].Read(t)
	if err != nil {
		return Reading{}, err
	}
	r.Observations = append(r.Observations, elapsed(t)...)
	return r, nil
}

// elapsed takes the longest of the processes that exit: each is measured around itself on its
// machine, and they are started together.
func elapsed(t *Trial) []journal.Observation {
	var longest *journal.Proc
	for i := range t.Procs {
		p := &t.Procs[i]
		if finishOf(t.Cell, p.Role) == plan.Exits && (longest == nil || p.Exit.Elapsed > longest.Exit.Elapsed) {
			longest = p
		}
	}
	if longest == nil {
		return nil
	}
	return []journal.Observation{{
		Metric: Elapsed, Value: longest.Exit.Elapsed.Seconds(), Unit: "s", Role: longest.Role, Index: longest.Index,
		How: "clock of the machine, around the process",
	}}
}

func finishOf(c *plan.Cell, role string) string {
	for i := range c.Roles {
		if c.Roles[i].Name == role {
			return c.Roles[i].Finish
		}
	}
	return ""
}

// maxLineBytes bounds a line of output; longer ones are skipped, not cut, since half a number is
// worse than none.
const maxLineBytes = 1 << 20

// skippedText is the doubt about output that was not read in full.
func skippedText(n int) string {
	return fmt.Sprintf("%d lines of output were longer than 1 MiB and were not read", n)
}

// lines hands each line of a file, without its end, to each. It returns how many were too long.
func lines(r io.Reader, each func(n int, line string)) (skipped int, err error) {
	br := bufio.NewReaderSize(r, 64<<10)
	var buf []byte
	for n := 1; ; n++ {
		buf = buf[:0]
		begun, long := false, false
		for {
			part, more, err := br.ReadLine()
			if errors.Is(err, io.EOF) && begun {
				break // a last line without its end that filled the buffer
			}
			if errors.Is(err, io.EOF) {
				return skipped, nil
			}
			if err != nil {
				return skipped, err
			}
			begun = true
			if long = long || len(buf)+len(part) > maxLineBytes; !long {
				buf = append(buf, part...)
			}
			if !more {
				break
			}
		}
		if long {
			skipped++
			continue
		}
		each(n, strings.TrimRight(string(buf), "\r"))
	}
}

// open opens a file that a process left, by its base name.
func (t *Trial) open(p *journal.Proc, name string) (io.ReadCloser, string, error) {
	for _, f := range p.Files {
		if f.Name[strings.LastIndexByte(f.Name, '/')+1:] == name {
			r, err := os.Open(filepath.Join(t.Dir, filepath.FromSlash(f.Name)))
			return r, f.Name, err
		}
	}
	return nil, "", fmt.Errorf("%s-%d: %s: %w", p.Role, p.Index, name, backends.ErrNotFound)
}

// textCut is how much of a line is kept with an observation.
const textCut = 200

func cut(s string) string {
	if len(s) > textCut {
		s = s[:textCut]
	}
	return strings.ToValidUTF8(s, "?")
}
