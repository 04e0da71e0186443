package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"dlx.dev/dlx/cmd/cnnbench/bench"
	"dlx.dev/dlx/compiler"
	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/spec"
	"dlx.dev/dlx/spec/diag"
)

// selection is what the flags of plan and run say about which plan is meant.
type selection struct {
	testbed string
	tags    []string
	only    []string
	repeats int
	dir     string

	rehearse bool

	loaded *spec.Testbed // by compile; nil where the plan was saved
}

func (s *selection) flags(f *pflag.FlagSet) {
	f.StringVarP(&s.testbed, "testbed", "T", "sandbox", "where to run: a CUE file, or a `NAME` in testbeds/ of the study; built in: sandbox")
	f.StringArrayVarP(&s.tags, "inject", "t", nil, "set a @tag of the study: `key=value` (repeatable)")
	f.StringArrayVar(&s.only, "only", nil, "keep only cells with `axis=value,...` (repeatable; block=NAME works as well)")
	f.IntVar(&s.repeats, "repeats", 0, "trials a cell, in place of the study's")
	f.StringVar(&s.dir, "dir", "", "the run folder (default runs/<study>)")
	f.BoolVar(&s.rehearse, "rehearse", false, "a model in place of the machines: the whole run in seconds, marked SIMULATED (run folder runs/<study>-rehearsal)")
}

// runDir is the run folder for a plan.
func (s *selection) runDir(p *plan.Plan) string {
	if s.dir != "" {
		return s.dir
	}
	if p.Caveat == plan.Simulated { // numbers of a model never lie beside measured ones
		return filepath.Join("runs", p.Study+"-rehearsal")
	}
	return filepath.Join("runs", p.Study)
}

// collectLess is for commands that compile and end: most of what they would collect the end of
// the process collects for nothing. The heap may grow to 5 times of what is live before it is
// looked at, and to 16 MiB at least.
func collectLess() { debug.SetGCPercent(400) }

// compile loads a study and its testbed and compiles them, or reads a plan that was saved. All
// mistakes of all stages come back in one list.
func (s *selection) compile(ctx context.Context, study string) (*plan.Plan, error) {
	if s.repeats < 0 {
		return nil, usage(fmt.Errorf("--repeats: %d is negative", s.repeats))
	}
	if strings.HasSuffix(study, ".json") {
		return s.saved(study)
	}
	only, err := parseOnly(s.only)
	if err != nil {
		return nil, usage(err)
	}
	var mistakes diag.List
	var tb *spec.Testbed
	var tbErr error
	done := make(chan struct{})
	go func() { // nobody waits twice for CUE
		defer close(done)
		tb, tbErr = spec.LoadTestbed(ctx, s.testbed, study, spec.Options{})
	}()
	st, err := spec.Load(ctx, study, spec.Options{Tags: s.tags})
	<-done
	if err := collect(&mistakes, err, study); err != nil {
		return nil, err
	}
	if err := collect(&mistakes, tbErr, testbedDir(s.testbed, study)); err != nil {
		return nil, err
	}
	if st != nil && tb != nil {
		p, err := compiler.Compile(st, tb, compiler.Options{
			Repeats: s.repeats, Only: only,
			Versions: map[string]string{spec.CNNBench: bench.Version},
			Caveats:  map[string]plan.Caveat{"sandbox": plan.Sandbox},
			Rehearse: s.rehearse,
		})
		var ofTestbed, ofStudy diag.List
		if l := diag.AsList(err); l != nil {
			for _, e := range l { // a place is in the files that its path speaks of
				if strings.HasPrefix(e.Path, "testbed") {
					ofTestbed = append(ofTestbed, e)
				} else {
					ofStudy = append(ofStudy, e)
				}
			}
			mistakes = append(mistakes, ofTestbed.In(slashPath(testbedDir(s.testbed, study)))...)
			mistakes = append(mistakes, ofStudy.In(slashPath(study))...)
		} else if err != nil {
			return nil, usage(err)
		}
		if len(mistakes) == 0 && p != nil {
			s.loaded = tb
			return p, nil
		}
	}
	if err := mistakes.Err(); err != nil {
		return nil, usage(err)
	}
	return nil, usage(fmt.Errorf("%s: no plan could be made", study))
}

// collect adds the mistakes in err, with dir in front of their files, and returns any other error.
func collect(to *diag.List, err error, dir string) error {
	if err == nil {
		return nil
	}
	l := diag.AsList(err)
	if l == nil {
		return usage(err)
	}
	*to = append(*to, l.In(slashPath(dir))...)
	return nil
}

// testbedDir is the folder that the positions of a testbed are relative to.
func testbedDir(nameOrFile, study string) string {
	if info, err := os.Stat(nameOrFile); err == nil {
		if info.IsDir() {
			return nameOrFile
		}
		return filepath.Dir(nameOrFile)
	}
	return filepath.Join(study, "testbeds")
}

func (s *selection) saved(file string) (*plan.Plan, error) {
	if len(s.tags) > 0 || len(s.only) > 0 || s.repeats > 0 || s.rehearse {
		return nil, usage(errors.New("a saved plan is run as it is: -t, --only, --repeats and --rehearse belong to the study it was made from"))
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, usage(err)
	}
	p, err := plan.Decode(b)
	if err != nil {
		return nil, usage(fmt.Errorf("%s: %w", file, err))
	}
	return p, nil
}

// parseOnly reads "model=alexnet,resnet50,orchestration=vm": a word without '=' is another value
// of the axis before it.
func parseOnly(words []string) ([]plan.Condition, error) {
	var out []plan.Condition
	for _, w := range words {
		for i, part := range strings.Split(w, ",") {
			axis, value, ok := strings.Cut(part, "=")
			switch {
			case ok && axis != "" && value != "":
				if k := slices.IndexFunc(out, func(c plan.Condition) bool { return c.Axis == axis }); k >= 0 {
					out[k].Values = append(out[k].Values, value)
				} else {
					out = append(out, plan.Condition{Axis: axis, Values: []string{value}})
				}
			case !ok && i > 0 && part != "":
				last := &out[len(out)-1]
				last.Values = append(last.Values, part)
			default:
				return nil, fmt.Errorf("--only: %q is not axis=value[,value...]", w)
			}
		}
	}
	return out, nil
}
