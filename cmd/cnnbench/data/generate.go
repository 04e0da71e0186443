package data

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// GeneratedSide is the height and width of generated pictures in pixels. They are stored larger than the nets take them,
// so that a reader has to resize.
const GeneratedSide = 32

// perShard is the number of pictures that [Generate] puts in a file before it starts another.
const perShard = 1024

// maxShards bounds the files of a set; beyond it files get larger.
const maxShards = 64

// Generate writes an image set of n pictures with labels 0 to classes-1 in turn to dir, which is made if missing and must
// not hold an image set. The same n, classes and seed give the same bytes. A label decides the colour and the direction
// of waves in a picture; noise is added, so a net can learn the set but has to learn.
//
// A file is complete or absent: it gets its name when all is written. A set that was cut off lacks files, and [Open]
// refuses it.
func Generate(ctx context.Context, dir string, n, classes int, seed uint64) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("data: %s: image set cannot be written: %w", dir, cause(err))
	}
	if old, err := findShards(dir); !errors.Is(err, ErrNoFiles) {
		if err == nil || errors.Is(err, ErrCorrupt) {
			return fmt.Errorf("data: %s: holds an image set already (%d files); give an empty directory: %w", dir, len(old), fs.ErrExist)
		}
		return err
	}
	shards := min((n+perShard-1)/perShard, maxShards)
	for i := range shards {
		if err := ctx.Err(); err != nil {
			return err
		}
		path := filepath.Join(dir, shardName(i, shards))
		if err := writeShard(path, i*n/shards, (i+1)*n/shards, classes, seed); err != nil {
			return fmt.Errorf("data: %s: image set cannot be written: %w", path, cause(err))
		}
	}
	return nil
}

// writeShard writes pictures [from, to) to path.
func writeShard(path string, from, to, classes int, seed uint64) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()           // the first error counts
			_ = os.Remove(f.Name()) // likewise
		}
	}()
	w := bufio.NewWriter(f)
	var payload, frame []byte
	pixels := make([]byte, GeneratedSide*GeneratedSide*3)
	for i := from; i < to; i++ {
		label := i % classes
		paint(pixels, label, classes, rand.New(rand.NewPCG(seed, uint64(i))))
		p := Picture{Label: uint32(label), Height: GeneratedSide, Width: GeneratedSide, Pixels: pixels}
		payload = p.appendPayload(payload[:0])
		frame = appendFrame(frame[:0], payload)
		if _, err := w.Write(frame); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// paint fills pixels with waves of the label's colour, direction and length, shifted at random, and noise. It counts in
// whole numbers, so that every processor writes the same bytes.
func paint(pixels []byte, label, classes int, rng *rand.Rand) {
	turn := label * 1024 / classes // of 1024
	dx, dy := triangle(turn), triangle(turn+256)
	length := 6 + label%5*3 // pixels
	phase := rng.IntN(1024)
	for at := range GeneratedSide * GeneratedSide {
		x, y := at%GeneratedSide, at/GeneratedSide
		along := (x*(dx-256) + y*(dy-256)) * 4 / length // 1024 a wave
		wave := triangle(along + phase)
		for c := range 3 {
			hue := triangle(turn*(c+2) + 317*c)
			pixels[at*3+c] = byte(30 + 100*wave/512*hue/512 + 60*hue/512 + rng.IntN(64))
		}
	}
}

// triangle rises from 0 to 512 and falls back over each 1024.
func triangle(t int) int {
	t &= 1023
	return min(t, 1024-t)
}
