package data

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// generate makes a set of n pictures in a fresh directory.
func generate(t *testing.T, n int, seed uint64) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "set")
	if err := Generate(t.Context(), dir, n, 10, seed); err != nil {
		t.Fatal(err)
	}
	return dir
}

// digest returns the names and the hash of all files in dir.
func digest(t *testing.T, dir string) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		h.Write([]byte(filepath.Base(p)))
		h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

func TestGeneratedSetsHaveTheSameBytesForTheSameSeed(t *testing.T) {
	first := digest(t, generate(t, 25, 1))
	if got := digest(t, generate(t, 25, 1)); got != first {
		t.Errorf("digest of the second set: got %s; want %s", got, first)
	}
	if got := digest(t, generate(t, 25, 2)); got == first {
		t.Errorf("digest with another seed: got %s again; want another", got)
	}
	// If this fails, all image sets made before differ from those made now: raise bench.Version.
	if want := "0f4aaa36c96c099b"; first != want {
		t.Errorf("digest: got %s; want %s", first, want)
	}
}

func TestSetIsReadAgainFromTheDiskEachEpoch(t *testing.T) {
	const n = 2*perShard + 3
	dir := generate(t, n, 1)
	set, err := Open(dir, 8, 10)
	if err != nil {
		t.Fatal(err)
	}
	if set.Len() != n || len(set.paths) != 3 {
		t.Errorf("set: got %d pictures in %d files; want %d in 3", set.Len(), len(set.paths), n)
	}
	read := func(count int) ([]float32, []int32) {
		pixels, labels := make([]float32, count*8*8*3), make([]int32, count)
		if fresh, err := set.Next(t.Context(), pixels, labels); err != nil || !fresh {
			t.Fatalf("Next: got %v, %v; want a batch", fresh, err)
		}
		return pixels, labels
	}
	pixels, labels := read(n)
	for i, l := range labels {
		if int(l) != i%10 {
			t.Fatalf("label of picture %d: got %d; want %d", i, l, i%10)
		}
	}
	if lo, hi := slices.Min(pixels), slices.Max(pixels); lo < -1 || hi > 1 || hi-lo < 1 {
		t.Errorf("pixels: got %v to %v; want a good part of -1 to 1", lo, hi)
	}
	again, _ := read(n)
	if !slices.Equal(pixels, again) {
		t.Error("second epoch: got other pictures; want the same")
	}
	// The third epoch finds what is on the disk by then.
	path := filepath.Join(dir, shardName(0, 3))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[100] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = set.Next(t.Context(), pixels, labels)
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), path+": corrupt image set: checksum of payload") {
		t.Errorf("third epoch, after a change on the disk: got %v; want a wrong checksum in %s", err, path)
	}
	if err := set.Close(); err != nil {
		t.Error(err)
	}
}

func TestOpenNamesWhatIsWrongWithADirectory(t *testing.T) {
	picture := Picture{Label: 3, Height: 1, Width: 1, Pixels: []byte{1, 2, 3}}
	tests := map[string]struct {
		files map[string][]byte
		want  string // after "data: DIR"
		class error
	}{
		"no files": {nil, ": found no files in --data_dir matching train-*-of-*", ErrNoFiles},
		"other files only": {
			map[string][]byte{"train-1-of-2": nil, "readme": nil},
			": found no files in --data_dir matching train-*-of-*", ErrNoFiles,
		},
		"a part of a set": {
			map[string][]byte{"train-00000-of-00003": nil, "train-00002-of-00003": nil},
			": corrupt image set: train-00001-of-00003 is missing (2 of 3 files found)", ErrCorrupt,
		},
		"two sets": {
			map[string][]byte{"train-00000-of-00001": nil, "train-00000-of-00002": nil},
			": corrupt image set: files of two image sets: train-00000-of-00001 and train-00000-of-00002", ErrCorrupt,
		},
		"a number too high": {
			map[string][]byte{"train-00000-of-00001": nil, "train-00001-of-00001": nil},
			": corrupt image set: 2 files found; their names say 1", ErrCorrupt,
		},
		"a set without pictures": {
			map[string][]byte{"train-00000-of-00001": nil}, ": corrupt image set: no pictures", ErrCorrupt,
		},
		"a file that is cut off": {
			map[string][]byte{"train-00000-of-00001": appendFrame(nil, picture.appendPayload(nil))[:20]},
			"/train-00000-of-00001: corrupt image set: file ends within a payload", ErrCorrupt,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, b := range tt.files {
				if err := os.WriteFile(filepath.Join(dir, file), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Open(dir, 8, 10)
			if want := "data: " + dir + tt.want; err == nil || err.Error() != want || !errors.Is(err, tt.class) {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
	dir := filepath.Join(t.TempDir(), "none")
	_, err := Open(dir, 8, 10)
	if want := "data: " + dir + ": image set cannot be read: no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("a missing directory: got %v; want %s", err, want)
	}
}

func TestPicturesThatDoNotFitAreNamed(t *testing.T) {
	good := Picture{Label: 3, Height: 1, Width: 2, Pixels: []byte{1, 2, 3, 4, 5, 6}}.appendPayload(nil)
	change := func(at int, v byte) []byte {
		b := bytes.Clone(good)
		b[at] = v
		return b
	}
	tests := map[string]struct {
		payload []byte
		want    string
	}{
		"a payload of upstream": {
			[]byte("\n\x06image/encoded"),
			`payload is not a picture of cnnbench (it starts with "\n\x06ima"; want "dlxp\x01")`,
		},
		"an empty payload":   {nil, `payload is not a picture of cnnbench (it starts with ""; want "dlxp\x01")`},
		"one channel":        {change(13, 1), "picture has 1 channels; want 3"},
		"no rows":            {change(9, 0), "picture of 0x2 pixels; want 1x1 to 1024x1024"},
		"too few bytes":      {good[:16], "picture of 1x2 pixels has 2 bytes; want 6"},
		"a label too large":  {change(5, 10), "label 10; want 0 to 9"},
		"a label far beyond": {change(8, 255), "label 4278190083; want 0 to 9"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, shardName(0, 1))
			if err := os.WriteFile(path, appendFrame(nil, tt.payload), 0o600); err != nil {
				t.Fatal(err)
			}
			set, err := Open(dir, 2, 10)
			if err != nil {
				t.Fatal(err)
			}
			_, err = set.Next(t.Context(), make([]float32, 12), make([]int32, 1))
			if want := "data: " + path + ": corrupt image set: " + tt.want; err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
			if err := set.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFloatTakesTheMeanOfTheCoveredPixels(t *testing.T) {
	p := Picture{Height: 2, Width: 4, Pixels: []byte{
		0, 0, 0, 255, 255, 255, 10, 20, 30, 10, 20, 30,
		0, 0, 0, 255, 255, 255, 10, 20, 30, 10, 20, 30,
	}}
	got := make([]float32, 2*2*3)
	p.Float(got, 2)
	at := func(v float32) float32 { return v/127.5 - 1 }
	want := []float32{0, 0, 0, at(10), at(20), at(30), 0, 0, 0, at(10), at(20), at(30)}
	near := cmp.Comparer(func(a, b float32) bool { return a-b < 1e-6 && b-a < 1e-6 })
	if diff := cmp.Diff(want, got, near); diff != "" {
		t.Errorf("halved (-want +got):\n%s", diff)
	}
	one := Picture{Height: 1, Width: 1, Pixels: []byte{255, 0, 255}}
	one.Float(got, 2) // larger than the source
	if diff := cmp.Diff([]float32{1, -1, 1, 1, -1, 1, 1, -1, 1, 1, -1, 1}, got, near); diff != "" {
		t.Errorf("enlarged (-want +got):\n%s", diff)
	}
}

func TestSyntheticDataIsOneBatch(t *testing.T) {
	batch := func(seed uint64) ([]float32, []int32, *Synthetic) {
		s := NewSynthetic(10, seed)
		pixels, labels := make([]float32, 48), make([]int32, 4)
		if fresh, err := s.Next(t.Context(), pixels, labels); !fresh || err != nil {
			t.Fatalf("first batch: got %v, %v; want one", fresh, err)
		}
		return pixels, labels, s
	}
	pixels, labels, s := batch(1)
	if fresh, err := s.Next(t.Context(), pixels, labels); fresh || err != nil {
		t.Errorf("second batch: got %v, %v; want none", fresh, err)
	}
	if again, l, _ := batch(1); !slices.Equal(again, pixels) || !slices.Equal(l, labels) {
		t.Error("same seed: got another batch; want the same")
	}
	if other, _, _ := batch(2); slices.Equal(other, pixels) {
		t.Error("other seed: got the same batch; want another")
	}
	if s.Len() != 1281167 || s.Close() != nil {
		t.Errorf("length of an epoch: got %d; want 1281167", s.Len())
	}
}

func TestGenerateRefusesADirectoryThatHoldsASet(t *testing.T) {
	dir := generate(t, 1, 1)
	err := Generate(t.Context(), dir, 1, 10, 1)
	if want := "data: " + dir + ": holds an image set already (1 files); give an empty directory: file already exists"; err == nil || err.Error() != want || !errors.Is(err, fs.ErrExist) {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err = Generate(t.Context(), file, 1, 10, 1)
	if want := "data: " + file + ": image set cannot be written: not a directory"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestStoppedContextEndsReadingAndWriting(t *testing.T) {
	dir := generate(t, 1, 1)
	set, err := Open(dir, 8, 10)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := set.Next(ctx, nil, make([]int32, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("Next: got %v; want %v", err, context.Canceled)
	}
	if err := set.Close(); err != nil {
		t.Error(err)
	}
	fresh := filepath.Join(t.TempDir(), "new")
	if err := Generate(ctx, fresh, 1, 10, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("Generate: got %v; want %v", err, context.Canceled)
	}
}
