package spec

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"dlx.dev/dlx/spec/diag"
	"dlx.dev/dlx/spec/words"
)

// Options of reading. The zero value will do.
type Options struct {
	Tags    []string // "key=value" for @tag(key) attributes
	Catalog Catalog
}

// A Catalog is what the rest of dlx offers, so that this package need not know it.
type Catalog struct {
	Backends []string
	Metrics  map[string][]string // workload kind -> metrics that its parser reports
}

func (c Catalog) backends() []string {
	if len(c.Backends) == 0 {
		return []string{"kubernetes", "openstack", "sandbox"}
	}
	return words.Set(c.Backends)
}

func (c Catalog) metrics(kind string) []string {
	if c.Metrics != nil {
		return words.Set(c.Metrics[kind])
	}
	if kind == Command {
		return []string{"elapsed"}
	}
	return []string{"background_throughput", "elapsed", "jitter", "loss", "step_se", "throughput"}
}

// Load reads the study in a folder.
//
// The error is a [diag.List] of every mistake, in the order of files and lines, or is of another
// kind when the folder cannot be read at all. File names in places are relative to dir. When the
// study could be decoded in part, it is returned along with the list and its Incomplete is set.
//
// Nothing is fetched, and nothing is written. CUE cannot be interrupted: ctx is looked at
// between the steps.
func Load(ctx context.Context, dir string, o Options) (*Study, error) {
	if st, err := os.Stat(dir); err != nil {
		return nil, err
	} else if !st.IsDir() {
		return nil, &fs.PathError{Op: "load", Path: dir, Err: errors.New("not a folder; a study is a folder with a CUE package")}
	}
	s, err := newSource(dir, []string{"."})
	if err != nil {
		return nil, err
	}
	s.tags = o.Tags
	return s.study(ctx, o)
}

func (s *source) study(ctx context.Context, o Options) (*Study, error) {
	if study := s.faultlessStudy(ctx, o); study != nil {
		return study, nil
	}
	return s.faultyStudy(ctx, o)
}

// faultyStudy finds all the mistakes of a study.
func (s *source) faultyStudy(ctx context.Context, o Options) (*Study, error) {
	var errs diag.List
	p, err := s.open(ctx, &errs)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return nil, errs.Err()
	}
	check := s.confirm(ctx, p, "study")
	defer func() { <-check.done }()
	root := p.tree("study", &errs)
	p.elsewhere("study", &errs)
	if root == nil {
		if len(errs) == 0 {
			errs.Addf(p.packageAt(), "", "no field study in package %s; write study: dlx.#Study & {...}", p.inst.PkgName)
		}
		return nil, finish(errs)
	}
	d := s.decoder(&errs, o)
	study := d.study(root)
	if study == nil {
		return nil, finish(errs)
	}
	d.checkStudy(study, root)
	check.into(&errs, s, p, "study")
	study.Incomplete = len(errs) > 0
	return study, finish(errs)
}

// LoadTestbed reads a testbed: a CUE file or folder, or the name of one that lies in the folder
// "testbeds" of the study or is built in ("sandbox"). Errors are as those of [Load]; places are
// relative to the folder of the testbed's file.
func LoadTestbed(ctx context.Context, nameOrFile, studyDir string, o Options) (*Testbed, error) {
	s, err := testbedSource(nameOrFile, studyDir)
	if err != nil {
		return nil, err
	}
	s.tags = o.Tags
	return s.testbed(ctx, o)
}

func (s *source) testbed(ctx context.Context, o Options) (*Testbed, error) {
	if tb := s.faultlessTestbed(ctx, o); tb != nil {
		return tb, nil
	}
	return s.faultyTestbed(ctx, o)
}

// faultyTestbed finds all the mistakes of a testbed.
func (s *source) faultyTestbed(ctx context.Context, o Options) (*Testbed, error) {
	var errs diag.List
	p, err := s.open(ctx, &errs)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return nil, errs.Err()
	}
	check := s.confirm(ctx, p, "testbed")
	defer func() { <-check.done }()
	root := p.tree("testbed", &errs)
	p.elsewhere("testbed", &errs)
	if root == nil {
		if len(errs) == 0 {
			errs.Addf(p.packageAt(), "", "no field testbed in this file; write testbed: dlx.#Testbed & {...}")
		}
		return nil, finish(errs)
	}
	tb := s.decoder(&errs, o).testbed(root)
	if tb == nil {
		return nil, finish(errs)
	}
	check.into(&errs, s, p, "testbed")
	return tb, finish(errs)
}

// builtinTestbeds are the names of testbeds that need no file.
func builtinTestbeds() []string {
	entries, err := embedded.ReadDir("testbeds")
	if err != nil {
		panic(err) // the binary was built without it
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".cue"))
	}
	return names
}

func testbedSource(name, studyDir string) (*source, error) {
	if name == "" {
		name = "sandbox"
	}
	isPath := strings.ContainsAny(name, `/\`) || strings.HasSuffix(name, ".cue")
	if isPath {
		st, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		if st.IsDir() {
			return newSource(name, []string{"."})
		}
		return newSource(filepath.Dir(name), []string{filepath.Base(name)})
	}
	dir := filepath.Join(studyDir, "testbeds")
	if _, err := os.Stat(filepath.Join(dir, name+".cue")); err == nil {
		return newSource(dir, []string{name + ".cue"})
	}
	for _, b := range builtinTestbeds() {
		if b == name {
			return builtinSource(name), nil
		}
	}
	known := builtinTestbeds()
	if files, err := filepath.Glob(filepath.Join(dir, "*.cue")); err == nil {
		for _, f := range files {
			known = append(known, strings.TrimSuffix(filepath.Base(f), ".cue"))
		}
	}
	var errs diag.List
	errs.Addf(diag.Pos{}, "testbed", "unknown testbed %s%s; a name is a file NAME.cue in the study's folder testbeds, or give a file", quote(name), words.Known(name, words.Set(known)))
	return nil, errs.Err()
}

// builtinSource is a testbed of the binary, laid into a folder that need not exist.
func builtinSource(name string) *source {
	dir := filepath.Join(string(filepath.Separator), "dlx-builtin")
	file := name + ".cue"
	return &source{dir: dir, root: dir, args: []string{file}, overlay: map[string][]byte{
		filepath.Join(dir, file): embeddedFile("testbeds/" + file),
	}}
}
