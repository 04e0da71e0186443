package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dlx.dev/dlx/executor/journal"
	"dlx.dev/dlx/results"
)

// packedRun is a run folder that grows.
type packedRun struct {
	t   *testing.T
	dir string
	w   *journal.Writer
}

func newPackedRun(t *testing.T) *packedRun {
	t.Helper()
	r := &packedRun{t: t, dir: t.TempDir()}
	var err error
	if r.w, err = journal.Open(filepath.Join(r.dir, results.JournalFile), nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.w.Close() })
	r.note("opened")
	return r
}

func (r *packedRun) note(text string) {
	r.t.Helper()
	if err := r.w.Append(journal.Event{Kind: journal.Note, Text: text}); err != nil {
		r.t.Fatal(err)
	}
}

// trial leaves a log, and the journal says so.
func (r *packedRun) trial(name, log string) {
	r.t.Helper()
	file := "logs/" + name + "/worker-0/stdout"
	at := filepath.Join(r.dir, file)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(at, []byte(log), 0o600); err != nil {
		r.t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(log))
	procs := []journal.Proc{{Role: "worker", Files: []journal.FileSum{{Name: file, Size: int64(len(log)), SHA256: hex.EncodeToString(sum[:])}}}}
	for _, k := range []journal.Kind{journal.Observed, journal.Ended} {
		if err := r.w.Append(journal.Event{Kind: k, Step: "trial/" + name, Procs: procs}); err != nil {
			r.t.Fatal(err)
		}
	}
}

// stream is what a copy is sent.
func (r *packedRun) stream(copied string) []byte {
	r.t.Helper()
	file := filepath.Join(copied, results.JournalFile)
	info, err := os.Stat(file)
	if err != nil {
		r.t.Fatal(err)
	}
	sum, err := prefix(file, info.Size())
	if err != nil {
		r.t.Fatal(err)
	}
	var b bytes.Buffer
	if err := pack(&b, r.dir, info.Size(), sum); err != nil {
		r.t.Fatal(err)
	}
	return b.Bytes()
}

func emptyCopy(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, results.JournalFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func unpackInto(t *testing.T, dir string, from io.Reader) (*unpacker, error) {
	t.Helper()
	info, err := os.Stat(filepath.Join(dir, results.JournalFile))
	if err != nil {
		t.Fatal(err)
	}
	u, err := newUnpacker(dir, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	defer u.journal.Close()
	return u, u.read(from)
}

// sameFiles compares a copy with the folder, but for what the copy lacks rightly.
func sameFiles(t *testing.T, want, got string) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(want, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		n++
		rel, _ := filepath.Rel(want, path)
		a, _ := os.ReadFile(path)
		b, err := os.ReadFile(filepath.Join(got, rel))
		if !bytes.Equal(a, b) {
			t.Errorf("%s: %d bytes; want %d (%v)", rel, len(b), len(a), err)
		}
		return nil
	})
	if err != nil || n < 2 {
		t.Errorf("%d files: %v", n, err)
	}
}

// whole checks that a copy's journal speaks of no file that is not here.
func whole(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, results.JournalFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := journal.Read(f, func(ev journal.Event) error {
		for _, s := range filesOf(&ev) {
			b, err := os.ReadFile(filepath.Join(dir, s.Name))
			if sum := sha256.Sum256(b); err != nil || hex.EncodeToString(sum[:]) != s.SHA256 {
				return fmt.Errorf("%s is not what the journal says: %w", s.Name, err)
			}
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func TestACopyThatIsCutOffAnywhereGoesOnAndIsNeverAheadOfItsFiles(t *testing.T) {
	r := newPackedRun(t)
	for i := range 4 {
		r.trial(fmt.Sprint("r", i), strings.Repeat(fmt.Sprintln("step", i*7919), 40+i))
	}
	total := len(r.stream(emptyCopy(t)))
	for cut := 0; cut < total; cut += 7 {
		dir := emptyCopy(t)
		if _, err := unpackInto(t, dir, bytes.NewReader(r.stream(dir)[:cut])); err == nil {
			t.Fatalf("%d of %d bytes were taken for all", cut, total)
		}
		whole(t, dir)
		if _, err := unpackInto(t, dir, bytes.NewReader(r.stream(dir))); err != nil {
			t.Fatalf("after %d bytes: %v", cut, err)
		}
		sameFiles(t, r.dir, dir)
	}
}

func TestACopyOfARunThatGoesOnBringsWhatCameSince(t *testing.T) {
	r := newPackedRun(t)
	dir := emptyCopy(t)
	for i := range 3 {
		r.trial(fmt.Sprint("r", i), fmt.Sprintln("step", i))
		// What is being written is no part of the copy: a torn line, a log that no line speaks of.
		if err := os.MkdirAll(filepath.Join(r.dir, "logs", "busy"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(r.dir, "logs", "busy", "stdout"), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		u, err := unpackInto(t, dir, bytes.NewReader(r.stream(dir)))
		if err != nil || u.files != 1 {
			t.Fatalf("copy %d: %d files, %v", i, u.files, err)
		}
		whole(t, dir)
	}
	if _, err := os.Stat(filepath.Join(dir, "logs", "busy")); err == nil {
		t.Error("a log came that no line of the journal speaks of")
	}
	if u, err := unpackInto(t, dir, bytes.NewReader(r.stream(dir))); err != nil || u.lines+u.files > 0 {
		t.Errorf("with nothing new: %d lines, %d files, %v", u.lines, u.files, err)
	}
}

func TestACopyTellsWhatIsNotAsTheJournalHasIt(t *testing.T) {
	r := newPackedRun(t)
	r.trial("measured-again", "old\n")
	r.trial("measured-again", "new\n")
	r.trial("damaged", "right\n")
	r.trial("lost", "here\n")
	if err := os.WriteFile(filepath.Join(r.dir, "logs/damaged/worker-0/stdout"), []byte("wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(r.dir, "logs/lost/worker-0/stdout")); err != nil {
		t.Fatal(err)
	}
	dir := emptyCopy(t)
	u, err := unpackInto(t, dir, bytes.NewReader(r.stream(dir)))
	if err != nil {
		t.Fatal(err)
	}
	want := "logs/damaged/worker-0/stdout: differs, logs/lost/worker-0/stdout: missing"
	if got := strings.Join(u.odd, ", "); got != want {
		t.Errorf("odd: %s; want %s", got, want)
	}
	sameFiles(t, r.dir, dir)
}

func TestACopyOfAnotherRunIsRefused(t *testing.T) {
	r := newPackedRun(t)
	r.trial("r1", "step\n")
	other := emptyCopy(t)
	file := filepath.Join(other, results.JournalFile)
	if err := os.WriteFile(file, []byte("another\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sum, err := prefix(file, 8)
	if err != nil {
		t.Fatal(err)
	}
	if err := pack(io.Discard, r.dir, 8, sum); err == nil || !strings.Contains(err.Error(), "does not begin with the 8 bytes of the copy's") {
		t.Errorf("got %v", err)
	}
}

func TestAStreamCannotWriteOutsideOfLogs(t *testing.T) {
	r := newPackedRun(t)
	r.trial("r1", "step\n")
	for _, name := range []string{"../x", "logs/../../x", "logs/../plan.json", "logs//x", "plan.json", "/etc/x"} {
		b, err := os.ReadFile(filepath.Join(r.dir, results.JournalFile))
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, results.JournalFile), b, 0o600); err != nil {
			t.Fatal(err)
		}
		w, err := journal.Open(filepath.Join(dir, results.JournalFile), nil)
		if err != nil {
			t.Fatal(err)
		}
		err = w.Append(journal.Event{Kind: journal.Ended, Procs: []journal.Proc{{Files: []journal.FileSum{{Name: name, SHA256: "0"}}}}})
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		var s bytes.Buffer
		if err := pack(&s, dir, 0, ""); err != nil {
			t.Fatal(err)
		}
		if _, err := unpackInto(t, emptyCopy(t), &s); err == nil || !strings.Contains(err.Error(), "none of a run's") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// Whatever a cluster sends: nothing is written but logs and the journal, which stays one.
func FuzzUnpack(f *testing.F) {
	f.Add("logs/r1/worker-0/stdout", "", "step\n", "0", []byte("{}\n"))
	f.Add("logs/r1/worker-0/stdout", noteMissing, "", "0", []byte(`{"crc":"00000000","seq":1}`+"\n"))
	f.Add("../x", noteDiffers, "y", "1", []byte{})
	f.Add("logs/", "", "", "", []byte("\n"))
	f.Fuzz(func(t *testing.T, name, note, text, at string, lines []byte) {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		w := tar.NewWriter(z)
		for _, h := range []struct {
			name, key, value string
			text             []byte
		}{{name, noteRecord, note, []byte(text)}, {results.JournalFile, atRecord, at, lines}} {
			header := &tar.Header{Name: h.name, Size: int64(len(h.text)), Mode: 0o644, PAXRecords: map[string]string{}}
			if h.value != "" {
				header.PAXRecords[h.key] = h.value
			}
			err := w.WriteHeader(header)
			if err == nil {
				_, err = w.Write(h.text)
			}
			if err != nil {
				return // no stream can say this
			}
		}
		if err := errors.Join(w.Close(), z.Close()); err != nil {
			t.Fatal(err)
		}
		parent := t.TempDir()
		dir := filepath.Join(parent, "run")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, results.JournalFile)
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_, _ = unpackInto(t, dir, &b)
		if err := filepath.WalkDir(parent, func(path string, d os.DirEntry, err error) error {
			if logs := filepath.Join(dir, "logs"); err == nil && !d.IsDir() && path != file && !strings.HasPrefix(path, logs+string(os.PathSeparator)) {
				t.Errorf("%q was written", path)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		b2, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if whole, err := journal.Read(bytes.NewReader(b2), func(journal.Event) error { return nil }); err != nil || whole != int64(len(b2)) {
			t.Errorf("the journal has %d whole bytes of %d: %v", whole, len(b2), err)
		}
	})
}
