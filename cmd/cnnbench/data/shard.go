package data

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// ErrNoFiles is the class of errors about a directory without shard files.
var ErrNoFiles = errors.New("found no files in --data_dir matching train-*-of-*")

// shardName returns the name of shard i of n.
func shardName(i, n int) string { return fmt.Sprintf("train-%05d-of-%05d", i, n) }

// findShards returns the paths of the shard files in dir, in order. A set with missing shards is an error: training on a
// part of a set silently is a known trap of upstream.
func findShards(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("data: %s: image set cannot be read: %w", dir, cause(err))
	}
	pattern := regexp.MustCompile(`^train-(\d{5})-of-(\d{5})$`)
	var names []string
	total := 0
	for _, e := range entries {
		m := pattern.FindStringSubmatch(e.Name())
		if m == nil || e.IsDir() {
			continue
		}
		of, _ := strconv.Atoi(m[2]) // five digits
		if total != 0 && of != total {
			return nil, fmt.Errorf("data: %s: %w: files of two image sets: %s and %s", dir, ErrCorrupt, names[0], e.Name())
		}
		total = of
		names = append(names, e.Name())
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("data: %s: %w", dir, ErrNoFiles)
	}
	paths := make([]string, total)
	for i := range total {
		if !slices.Contains(names, shardName(i, total)) {
			return nil, fmt.Errorf("data: %s: %w: %s is missing (%d of %d files found)",
				dir, ErrCorrupt, shardName(i, total), len(names), total)
		}
		paths[i] = filepath.Join(dir, shardName(i, total))
	}
	if len(names) != total {
		return nil, fmt.Errorf("data: %s: %w: %d files found; their names say %d", dir, ErrCorrupt, len(names), total)
	}
	return paths, nil
}

// cause takes the path out of an error, which the message says already.
func cause(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}
