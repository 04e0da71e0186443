package spec

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
)

// Vendor writes the schema into the module of a folder, below cue.mod/pkg, where "cue vet", "cue
// fmt" and editors find it without a network. Without a module it makes one in dir itself. It
// returns the names of the files it wrote; those that were up to date already are not among
// them. Files of an older schema are removed.
func Vendor(dir string) ([]string, error) {
	s, err := newSource(dir, nil)
	if err != nil {
		return nil, err
	}
	var written []string
	if err := os.MkdirAll(s.schemaDir(), 0o777); err != nil {
		return nil, err
	}
	if !s.hasModule() {
		if err := renameio.WriteFile(s.moduleFile(), []byte(moduleText("study.example")), 0o666); err != nil {
			return nil, err
		}
		written = append(written, s.moduleFile())
	}
	stale, err := s.staleSchema()
	if err != nil {
		return written, err
	}
	files := schemaFiles(true)
	for _, name := range stale {
		full := filepath.Join(s.schemaDir(), name)
		text, ours := files[name]
		if !ours {
			err = os.Remove(full)
		} else {
			err = renameio.WriteFile(full, text, 0o666)
			written = append(written, full)
		}
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// VendorCheck returns the files of a vendored schema that differ from this dlx's: empty when all
// is up to date, and when nothing is vendored.
func VendorCheck(dir string) ([]string, error) {
	s, err := newSource(dir, nil)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(s.schemaDir()); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	stale, err := s.staleSchema()
	for i := range stale {
		stale[i] = filepath.Join(s.schemaDir(), stale[i])
	}
	return stale, err
}

// staleSchema lists the vendored files that are missing, differ or are too many.
func (s *source) staleSchema() ([]string, error) {
	var stale []string
	files := schemaFiles(true)
	for name, text := range files {
		have, err := os.ReadFile(filepath.Join(s.schemaDir(), name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err != nil || !bytes.Equal(have, text) {
			stale = append(stale, name)
		}
	}
	entries, err := os.ReadDir(s.schemaDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if _, ours := files[e.Name()]; !ours && strings.HasSuffix(e.Name(), ".cue") {
			stale = append(stale, e.Name())
		}
	}
	slices.Sort(stale)
	return stale, nil
}

// Init writes a starter study named name into a folder: the study, a testbed to copy from, and
// the vendored schema. It makes the folder, and refuses to replace any file. It returns the
// names of the files.
func Init(dir, name string) ([]string, error) {
	if !dnsLabel.MatchString(name) {
		return nil, fmt.Errorf("%q is no name of a study: %s%s", name, dnsLabelForm, suchAs(name))
	}
	files := map[string][]byte{
		filepath.Join(dir, "study.cue"):               starter(name),
		filepath.Join(dir, "testbeds", "mycloud.cue"): embeddedFile("starter/testbed.cue"),
	}
	names := make([]string, 0, len(files))
	for n := range files {
		names = append(names, n)
		if _, err := os.Lstat(n); err == nil {
			return nil, &fs.PathError{Op: "init", Path: n, Err: fs.ErrExist}
		}
	}
	if other, err := filepath.Glob(filepath.Join(dir, "*.cue")); err == nil && len(other) > 0 {
		return nil, &fs.PathError{Op: "init", Path: other[0], Err: errors.New("the folder holds a CUE package already; take an empty one")}
	}
	slices.Sort(names)
	for _, n := range names {
		if err := os.MkdirAll(filepath.Dir(n), 0o777); err != nil {
			return nil, err
		}
		if err := writeNew(n, files[n]); err != nil {
			return nil, err
		}
	}
	vendored, err := Vendor(dir)
	return append(names, vendored...), err
}

// writeNew writes a file that must not exist.
func writeNew(name string, text []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

// starter is the starter study under another name.
func starter(name string) []byte {
	text := string(embeddedFile("starter/study.cue"))
	text = strings.Replace(text, "package quickstart", "package "+packageName(name), 1)
	return []byte(strings.Replace(text, `name:  "quickstart"`, fmt.Sprintf("name:  %q", name), 1))
}

// packageName makes an identifier of a DNS label.
func packageName(name string) string {
	p := strings.ReplaceAll(name, "-", "_")
	if p[0] >= '0' && p[0] <= '9' {
		p = "study_" + p
	}
	return p
}
