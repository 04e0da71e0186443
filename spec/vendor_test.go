package spec

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/cuecontext"
	"cuelang.org/go/cue/load"

	"dlx.dev/dlx/spec/words"
)

// vet does what "cue vet -c" does: no overlay, nothing of dlx's but the vendored schema.
func vet(dir string, tags []string) error {
	inst := load.Instances([]string{"."}, &load.Config{Dir: dir, Tags: tags, Env: []string{"CUE_REGISTRY=none"}})[0]
	if inst.Err != nil {
		return inst.Err
	}
	return cuecontext.New().BuildInstance(inst).Validate(cue.Concrete(true), cue.Final(), cue.All())
}

func copyStudy(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../testdata/studies/quickstart")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestVendoredSchemaAcceptsWhatDlxAccepts(t *testing.T) {
	dir := copyStudy(t)
	if _, err := Vendor(dir); err != nil {
		t.Fatal(err)
	}
	if err := vet(dir, nil); err != nil {
		t.Errorf("cue vet refuses the quickstart: %v", err)
	}
	for _, a := range archives(t, "testdata/good/*.txtar") {
		if a.setting("testbed") != "" {
			continue
		}
		dir := a.extract(t)
		if _, err := Vendor(dir); err != nil {
			t.Fatal(err)
		}
		if err := vet(dir, strings.Fields(a.setting("tags"))); err != nil {
			t.Errorf("cue vet refuses %s: %v", a.name, err)
		}
	}
}

func TestVendoredSchemaRefusesMistakesOfForm(t *testing.T) {
	n := 0
	for _, a := range archives(t, "testdata/bad/*.txtar") {
		if a.setting("schema") != "yes" {
			continue
		}
		n++
		dir := a.extract(t)
		if _, err := Vendor(dir); err != nil {
			t.Fatal(err)
		}
		if vet(dir, strings.Fields(a.setting("tags"))) == nil {
			t.Errorf("cue vet accepts %s, which says \"schema: yes\"", a.name)
		}
	}
	if n < 20 {
		t.Errorf("only %d goldens are matters of the schema", n)
	}
}

func TestOpenDefinitionsAreThoseOfTheSchema(t *testing.T) {
	names := func(checking bool) []string {
		var out []string
		for file, text := range schemaFiles(checking) {
			if file == "library.cue" { // in both
				continue
			}
			for line := range strings.Lines(string(text)) {
				if name, _, ok := strings.Cut(line, ":"); ok && strings.HasPrefix(name, "#") {
					out = append(out, name)
				}
			}
		}
		return words.Set(out)
	}
	if got, want := names(false), names(true); !slices.Equal(got, want) {
		t.Errorf("open definitions %v; want those of the schema, %v", got, want)
	}
}

func TestVendorWritesOnceAndNoticesAge(t *testing.T) {
	dir := copyStudy(t)
	if stale, err := VendorCheck(dir); err != nil || len(stale) > 0 {
		t.Errorf("nothing vendored: got %v, %v; want nothing", stale, err)
	}
	files, err := Vendor(dir)
	if err != nil || len(files) != 4 {
		t.Fatalf("got %v, %v; want the module file and three of the schema", files, err)
	}
	if again, err := Vendor(dir); err != nil || len(again) > 0 {
		t.Errorf("second time: got %v, %v; want nothing", again, err)
	}
	pkg := filepath.Join(dir, "cue.mod", "pkg", "dlx.dev", "dlx")
	for name, text := range map[string]string{"study.cue": "package dlx\n\n#Study: {old: int}\n", "older.cue": "package dlx\n\n#Study: {older: 1}\n"} {
		if err := os.WriteFile(filepath.Join(pkg, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	stale, err := VendorCheck(dir)
	if err != nil || !slices.Equal(stale, []string{filepath.Join(pkg, "older.cue"), filepath.Join(pkg, "study.cue")}) {
		t.Errorf("got %v, %v; want the two files that differ", stale, err)
	}
	if _, err := Load(t.Context(), dir, Options{}); err != nil {
		t.Errorf("a stale schema hides dlx's own: %v", err)
	}
	if _, err := Vendor(dir); err != nil {
		t.Fatal(err)
	}
	if stale, err := VendorCheck(dir); err != nil || len(stale) > 0 {
		t.Errorf("got %v, %v; want all up to date", stale, err)
	}
}

func TestVendorGoesToTheModulesRoot(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "studies", "a")
	for _, d := range []string{dir, filepath.Join(root, "cue.mod")} {
		if err := os.MkdirAll(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	module := filepath.Join(root, "cue.mod", "module.cue")
	if err := os.WriteFile(module, []byte("module: \"lab.example\"\nlanguage: version: \"v0.16.0\"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	files, err := Vendor(dir)
	if err != nil || len(files) != 3 || !strings.HasPrefix(files[0], filepath.Join(root, "cue.mod", "pkg")) {
		t.Errorf("got %v, %v; want three files below %s", files, err, root)
	}
	if b, err := os.ReadFile(module); err != nil || !strings.Contains(string(b), "v0.16.0") {
		t.Errorf("module file changed: %s, %v", b, err)
	}
}

func TestInitWritesWhatLoads(t *testing.T) {
	for _, name := range []string{"mystudy", "3-models"} {
		dir := filepath.Join(t.TempDir(), "new")
		files, err := Init(dir, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if _, err := os.Stat(f); err != nil {
				t.Error(err)
			}
		}
		s, err := Load(t.Context(), dir, Options{})
		if err != nil {
			t.Fatalf("%s", printed(dir, err))
		}
		if s.Name != name {
			t.Errorf("got name %q; want %q", s.Name, name)
		}
		tb, err := LoadTestbed(t.Context(), "mycloud", dir, Options{})
		if err != nil {
			t.Fatalf("%s", printed(dir, err))
		}
		if tb.Name != "mycloud" || len(tb.Orchestrations) != 2 {
			t.Errorf("got %+v", tb)
		}
		if err := vet(dir, nil); err != nil {
			t.Errorf("cue vet: %v", err)
		}
		if _, err := Init(dir, name); !errors.Is(err, fs.ErrExist) {
			t.Errorf("second time: got %v; want that the file exists", err)
		}
	}
	if _, err := Init(t.TempDir(), "My Study"); err == nil || !strings.Contains(err.Error(), "my-study") {
		t.Errorf("got %v; want that the name is none, and one that is", err)
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "x.cue"), []byte("package x\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Init(other, "a"); err == nil {
		t.Error("init into a folder with another package; want an error")
	}
	if left, err := os.ReadDir(other); err != nil || len(left) != 1 {
		t.Errorf("init left something behind: %v, %v", left, err)
	}
}
