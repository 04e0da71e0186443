package data

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// Source gives batches of pictures one after another, without end.
type Source interface {
	// Next fills pixels with len(labels) pictures as NHWC floats of about -1 to 1 and labels with their labels. It reports
	// whether it wrote anything: a source that has one batch only fills it once and is silent from then on.
	Next(ctx context.Context, pixels []float32, labels []int32) (fresh bool, err error)
	// Len is the number of pictures in an epoch.
	Len() int
	// Close frees what the source holds. It is called exactly once.
	Close() error
}

// Set is an image set on disk. It reads shard after shard from the disk, and begins again after the last: each epoch
// reads every file anew. It holds one open file.
type Set struct {
	paths   []string
	size    int // pixels a side that pictures are brought to
	classes int
	count   int

	shard  int // index of the next shard to open
	file   *os.File
	frames *frameReader
}

// Open opens the image set in dir for nets with pictures of size x size pixels and labels below classes. It counts the
// pictures by reading through all files once; checksums of pictures are checked as they are used.
func Open(dir string, size, classes int) (*Set, error) {
	paths, err := findShards(dir)
	if err != nil {
		return nil, err
	}
	s := &Set{paths: paths, size: size, classes: classes, frames: newFrameReader(nil)}
	for _, path := range paths {
		n, err := s.countShard(path)
		if err != nil {
			return nil, fmt.Errorf("data: %s: %w", path, cause(err))
		}
		s.count += n
	}
	if s.count == 0 {
		return nil, fmt.Errorf("data: %s: %w: no pictures", dir, ErrCorrupt)
	}
	return s, nil
}

func (s *Set) countShard(path string) (n int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }() // read only
	s.frames.reset(f)
	for {
		if err := s.frames.skip(); errors.Is(err, io.EOF) {
			return n, nil
		} else if err != nil {
			return 0, err
		}
		n++
	}
}

// StartAt makes the first epoch begin with another shard, so that part i of n begins after about i/n of the set. It is
// called before the first Next. Parts of a set with fewer shards than parts begin at the same place.
func (s *Set) StartAt(i, n int) { s.shard = i * len(s.paths) / n }

// Len implements [Source].
func (s *Set) Len() int { return s.count }

// Next implements [Source].
func (s *Set) Next(ctx context.Context, pixels []float32, labels []int32) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	each := s.size * s.size * 3
	for i := range labels {
		p, err := s.next()
		if err != nil {
			return false, err
		}
		p.Float(pixels[i*each:(i+1)*each], s.size)
		labels[i] = int32(p.Label)
	}
	return true, nil
}

// next returns the next picture, valid until the next call.
func (s *Set) next() (Picture, error) {
	for {
		if s.file == nil {
			f, err := os.Open(s.paths[s.shard])
			if err != nil {
				return Picture{}, fmt.Errorf("data: %s: %w", s.paths[s.shard], cause(err))
			}
			s.file = f
			s.frames.reset(f)
		}
		payload, err := s.frames.next()
		if errors.Is(err, io.EOF) {
			_ = s.file.Close() // read only
			s.file, s.shard = nil, (s.shard+1)%len(s.paths)
			continue
		}
		var p Picture
		if err == nil {
			p, err = parsePicture(payload)
		}
		if err == nil && int64(p.Label) >= int64(s.classes) {
			err = fmt.Errorf("%w: label %d; want 0 to %d", ErrCorrupt, p.Label, s.classes-1)
		}
		if err != nil {
			return Picture{}, fmt.Errorf("data: %s: %w", s.paths[s.shard], cause(err))
		}
		return p, nil
	}
}

// Close implements [Source].
func (s *Set) Close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
