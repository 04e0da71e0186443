package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"

	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
	"dlx.dev/dlx/results"
)

// Names in a run folder beside those of package results.
const (
	secretFile = "secret" // 32 random bytes in hex, from which the run's keys are derived; gone when nothing is left
	stateDir   = "state"  // what backends keep between restarts
)

// folder is a run folder that this process holds.
type folder struct {
	dir     string
	lock    *flock.Flock
	journal *journal.Writer
	history *journal.History
	runID   string
	secret  []byte
}

// openFolder takes a run folder for this process: creates it, locks it, reads its journal and
// writes the plan. A run that begins is called run, or gets a name of its own if that is empty.
func openFolder(dir string, p *plan.Plan, run string) (_ *folder, err error) {
	f, err := lockFolder(dir, p, run)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	if away, err := readDetached(dir); err != nil {
		return nil, usage(err)
	} else if away != nil {
		return nil, away.refuse(dir)
	}
	if f.secret, err = loadSecret(filepath.Join(dir, secretFile)); err != nil {
		return nil, usage(err)
	}
	return f, f.writePlan(p)
}

// lockFolder takes a run folder, as openFolder does, and writes nothing but a journal if there is none.
func lockFolder(dir string, p *plan.Plan, run string) (_ *folder, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, usage(err)
	}
	// The journal itself is what is locked: a lock file of its own, removed at the end, could be
	// held by one process while the next makes and holds another of that name.
	f := &folder{dir: dir, lock: flock.New(filepath.Join(dir, results.JournalFile)), history: journal.NewHistory()}
	ok, err := f.lock.TryLock()
	if err != nil {
		return nil, usage(err)
	}
	if !ok {
		return nil, &exitError{exitEnvironment, fmt.Errorf("%s: another dlx runs in this folder: wait for it, or choose another with --dir", dir)}
	}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	if _, old, err := readFolder(dir); err != nil {
		return nil, usage(err)
	} else if old != nil && old.Study != p.Study {
		return nil, usage(fmt.Errorf("%s: holds a run of study %q, not of %q: choose another folder with --dir", dir, old.Study, p.Study))
	}
	if f.journal, err = journal.Open(filepath.Join(dir, results.JournalFile), f.history.Fold); err != nil {
		return nil, usage(err)
	}
	switch f.runID = f.history.Run; {
	case f.runID != "":
	case run != "":
		f.runID = run
	default:
		f.runID = newRunID(p.Study)
	}
	return f, nil
}

func (f *folder) writePlan(p *plan.Plan) error {
	b, err := p.Encode()
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(filepath.Join(f.dir, results.PlanFile), b, 0o644); err != nil {
		return usage(err)
	}
	return nil
}

// holdFolder takes a run folder that is there for this process, as it is, and reads its plan; nil if
// it has none.
func holdFolder(dir string) (_ *folder, _ *plan.Plan, err error) {
	file := filepath.Join(dir, results.JournalFile)
	if _, err := os.Stat(file); err != nil {
		return nil, nil, usage(fmt.Errorf("%s: no run folder: %w", dir, err))
	}
	f := &folder{dir: dir, lock: flock.New(file), history: journal.NewHistory()}
	ok, err := f.lock.TryLock()
	if err != nil {
		return nil, nil, usage(err)
	}
	if !ok {
		return nil, nil, &exitError{exitEnvironment, fmt.Errorf("%s: another dlx runs in this folder, and releases what it made: interrupt that one", dir)}
	}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	_, p, err := readFolder(dir)
	if err != nil {
		return nil, nil, usage(err)
	}
	if f.journal, err = journal.Open(file, f.history.Fold); err != nil {
		return nil, nil, usage(err)
	}
	f.runID = f.history.Run
	return f, p, nil
}

// newRunID names a run: a piece of the study's name, so that people know it in a list of
// servers, and enough chance that two runs in one project never meet.
func newRunID(study string) string {
	var b [5]byte
	rand.Read(b[:]) // never fails
	if len(study) > 16 {
		study = study[:16]
	}
	return study + "-" + hex.EncodeToString(b[:])
}

func loadSecret(file string) ([]byte, error) {
	const size = 32
	text, err := os.ReadFile(file)
	if err == nil {
		b, err := hex.DecodeString(string(text))
		if err != nil || len(b) != size {
			return nil, fmt.Errorf("%s: not %d bytes in hexadecimal", file, size)
		}
		return b, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	b := make([]byte, size)
	rand.Read(b) // never fails
	return b, renameio.WriteFile(file, []byte(hex.EncodeToString(b)), 0o600)
}

// tidy removes what is of no use once nothing of the run exists any more; left is how many objects
// may.
func (f *folder) tidy(left int) {
	if left > 0 {
		return
	}
	_ = os.Remove(filepath.Join(f.dir, secretFile))
	if entries, err := os.ReadDir(filepath.Join(f.dir, stateDir)); err == nil {
		for _, e := range entries {
			_ = os.Remove(filepath.Join(f.dir, stateDir, e.Name())) // only if the backend left it empty
		}
		_ = os.Remove(filepath.Join(f.dir, stateDir))
	}
}

func (f *folder) close() {
	if f.journal != nil {
		_ = f.journal.Close()
	}
	_ = f.lock.Unlock()
}
