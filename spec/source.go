package spec

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/build"
	"cuelang.org/go/cue/load"

	"dlx.dev/dlx/spec/diag"
)

// SchemaPath is the import path of the schema.
const SchemaPath = "dlx.dev/dlx"

//go:embed schema/*.cue schema/open/*.cue testbeds/*.cue starter/*.cue
var embedded embed.FS

// schemaFiles returns the files of the schema by name: those a user sees, or those without
// checks that dlx reads with.
func schemaFiles(checking bool) map[string][]byte {
	names := []string{"schema/library.cue", "schema/study.cue", "schema/testbed.cue"}
	if !checking {
		names = []string{"schema/library.cue", "schema/open/open.cue"}
	}
	files := make(map[string][]byte, len(names))
	for _, n := range names {
		files[path.Base(n)] = embeddedFile(n)
	}
	return files
}

func embeddedFile(name string) []byte {
	b, err := embedded.ReadFile(name)
	if err != nil {
		panic(err) // the binary was built without it
	}
	return b
}

// A source is a CUE package to be read: a folder, or one file in it.
type source struct {
	dir     string   // absolute
	root    string   // of the module: the nearest parent with a folder cue.mod, else dir
	args    []string // what load is asked for: ".", or a file's name
	tags    []string
	overlay map[string][]byte // absolute file names; what is here is not read from disk
}

// newSource finds the module of dir.
func newSource(dir string, args []string) (*source, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s := &source{dir: abs, args: args}
	s.root = s.moduleRoot()
	return s, nil
}

func (s *source) moduleRoot() string {
	for d := s.dir; ; d = filepath.Dir(d) {
		if st, err := os.Stat(filepath.Join(d, "cue.mod")); err == nil && st.IsDir() {
			return d
		}
		if d == filepath.Dir(d) {
			return s.dir
		}
	}
}

func (s *source) moduleFile() string { return filepath.Join(s.root, "cue.mod", "module.cue") }
func (s *source) schemaDir() string {
	return filepath.Join(s.root, "cue.mod", "pkg", filepath.FromSlash(SchemaPath))
}

// read returns a file's text, of the overlay first.
func (s *source) read(name string) ([]byte, error) {
	if b, ok := s.overlay[name]; ok {
		return b, nil
	}
	return os.ReadFile(name)
}

// rel is the name by which a [diag.Pos] knows a file, and false for a file that is not the
// user's.
func (s *source) rel(name string) (string, bool) {
	if name == "" || within(s.schemaDir(), name) || !within(s.root, name) {
		return "", false
	}
	r, err := filepath.Rel(s.dir, name)
	if err != nil {
		return "", false
	}
	return filepath.ToSlash(r), true
}

func within(dir, name string) bool {
	r, err := filepath.Rel(dir, name)
	return err == nil && r != ".." && !strings.HasPrefix(r, ".."+string(filepath.Separator))
}

// hasModule reports whether the user has a module file.
func (s *source) hasModule() bool {
	_, err := s.read(s.moduleFile())
	return !errors.Is(err, fs.ErrNotExist)
}

// instance parses the package and its imports. Tags that the package does not know must not be
// given.
func (s *source) instance(checking bool, tags []string, registry bool) *build.Instance {
	overlay := map[string]load.Source{}
	for name, text := range s.overlay {
		overlay[name] = load.FromBytes(text)
	}
	for name, text := range schemaFiles(checking) {
		overlay[filepath.Join(s.schemaDir(), name)] = load.FromBytes(text)
	}
	if entries, err := os.ReadDir(s.schemaDir()); err == nil { // a stale vendored copy
		for _, e := range entries {
			name := filepath.Join(s.schemaDir(), e.Name())
			if _, ok := overlay[name]; !ok && strings.HasSuffix(e.Name(), ".cue") {
				overlay[name] = load.FromString("package dlx\n")
			}
		}
	}
	if !s.hasModule() {
		overlay[s.moduleFile()] = load.FromString(moduleText("study.example"))
	}
	cfg := &load.Config{Dir: s.dir, ModuleRoot: s.root, Tags: tags, Overlay: overlay}
	if !registry {
		cfg.Env = []string{"CUE_REGISTRY=none"} // nothing is ever fetched
	}
	return load.Instances(s.args, cfg)[0]
}

// A pkg is a package that CUE could build, perhaps with errors in its values.
type pkg struct {
	src   *source
	inst  *build.Instance
	value cue.Value
	index *index

	tagMistakes bool // a -t was refused: what it would have set may have no value
	registry    bool // the module has dependencies of its own

	blanked map[diag.Pos]bool // names that are not defined, which was reported
}

// open loads and builds the package without checks. The list has what keeps it from being
// built; then the pkg is nil. Other mistakes, such as wrong tags, leave a pkg.
func (s *source) open(ctx context.Context, errs *diag.List) (*pkg, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	registry, ok := s.checkModule(errs)
	if !ok {
		return nil, nil
	}
	inst := s.instance(false, nil, registry)
	if inst.Err != nil {
		s.loadErrors(errs, inst)
		return nil, nil //nolint:nilerr // it is among errs now
	}
	p := &pkg{src: s, inst: inst, index: newIndex(s, inst), registry: registry}
	before := len(*errs)
	tags := s.checkTags(errs, inst)
	p.tagMistakes = len(*errs) > before
	if len(tags) > 0 {
		p.inst = s.instance(false, tags, registry)
		if p.inst.Err != nil {
			s.loadErrors(errs, p.inst)
			return nil, nil //nolint:nilerr // it is among errs now
		}
		s.tags = tags
		p.index = newIndex(s, p.inst)
	}
	p.evaluate(errs, registry)
	return p, nil
}

func moduleText(module string) string {
	return fmt.Sprintf("module: %q\nlanguage: version: %q\n", module, OldestLanguage)
}
