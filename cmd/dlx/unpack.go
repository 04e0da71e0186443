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
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"dlx.dev/dlx/executor/journal"
	"dlx.dev/dlx/results"
)

func newUnpack() *cobra.Command {
	var from int64
	var sum string
	cmd := &cobra.Command{
		Use:    "unpack RUN",
		Short:  "Add to a run folder what another has more",
		Hidden: true, // dlx run --detach calls it where the run will be
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			have, err := prefix(filepath.Join(args[0], results.JournalFile), from)
			if err != nil || have != sum {
				return usage(fmt.Errorf("%s: its journal does not begin as the other: %w", args[0], err))
			}
			u, err := newUnpacker(args[0], from)
			if err != nil {
				return usage(err)
			}
			defer u.journal.Close()
			if err := u.read(cmd.InOrStdin()); err != nil {
				return &exitError{exitEnvironment, err}
			}
			return nil
		},
	}
	cmd.Flags().Int64Var(&from, "from", 0, "the `SIZE` of its journal")
	cmd.Flags().StringVar(&sum, "sum", "", "the SHA-256 of that")
	return cmd
}

// An unpacker brings a stream of pack into a copy of a run folder.
type unpacker struct {
	dir     string
	journal *os.File // the copy's, at its end
	size    int64
	got     map[string]string // by file: its checksum, or a note
	lines   int
	files   int
	odd     []string // files that are not what the journal says
}

// newUnpacker opens a copy whose journal has a size.
func newUnpacker(dir string, size int64) (*unpacker, error) {
	f, err := os.OpenFile(filepath.Join(dir, results.JournalFile), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, err
	}
	return &unpacker{dir: dir, journal: f, size: size, got: map[string]string{}}, nil
}

func (u *unpacker) read(from io.Reader) error {
	z, err := gzip.NewReader(from)
	if err != nil {
		return err
	}
	t := tar.NewReader(z)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			_, err := io.Copy(io.Discard, z) // its checksum is at the end
			return err
		}
		if err != nil {
			return err
		}
		if h.Name == results.JournalFile {
			err = u.chunk(h, t)
		} else {
			err = u.file(h, t)
		}
		if err != nil {
			return err
		}
	}
}

func (u *unpacker) file(h *tar.Header, from io.Reader) error {
	if h.Typeflag != tar.TypeReg || !strings.HasPrefix(h.Name, "logs/") || path.Clean(h.Name) != h.Name || !filepath.IsLocal(filepath.FromSlash(h.Name)) {
		return fmt.Errorf("the stream holds a file %q, which is none of a run's", h.Name)
	}
	note := h.PAXRecords[noteRecord]
	switch note {
	case noteMissing, noteDiffers:
		u.odd = append(u.odd, h.Name+": "+note)
	}
	if note == noteMissing || note == noteReplaced {
		u.got[h.Name] = note
		return nil
	}
	at := filepath.Join(u.dir, filepath.FromSlash(h.Name))
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	f, err := renameio.NewPendingFile(at, renameio.WithPermissions(0o644))
	if err != nil {
		return err
	}
	defer f.Cleanup() //nolint:errcheck // nothing is left to clean when it has its name
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(f, sum), from); err != nil {
		return err
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return err
	}
	u.files++
	u.got[h.Name] = hex.EncodeToString(sum.Sum(nil))
	if note != "" {
		u.got[h.Name] = note
	}
	return nil
}

// chunk adds to the journal what comes next, when all that it speaks of is here.
func (u *unpacker) chunk(h *tar.Header, from io.Reader) error {
	if at, err := strconv.ParseInt(h.PAXRecords[atRecord], 10, 64); err != nil || at != u.size {
		return fmt.Errorf("a piece of the journal from byte %q on came after %d bytes", h.PAXRecords[atRecord], u.size)
	}
	text, err := io.ReadAll(from)
	if err != nil {
		return err
	}
	lines := 0
	whole, err := journal.Read(bytes.NewReader(text), func(ev journal.Event) error {
		lines++
		for _, s := range filesOf(&ev) {
			if err := u.here(s); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("journal from byte %d on: %w", u.size, err)
	}
	if whole != int64(len(text)) {
		return fmt.Errorf("journal from byte %d on: only %d of %d bytes are whole lines", u.size, whole, len(text))
	}
	if _, err := u.journal.Write(text); err != nil {
		return errors.Join(err, u.journal.Truncate(u.size))
	}
	u.size += whole
	u.lines += lines
	return u.journal.Sync()
}

// here reports whether a file that the journal speaks of has come, or was here before.
func (u *unpacker) here(s journal.FileSum) error {
	switch got := u.got[s.Name]; got {
	case s.SHA256, noteReplaced, noteMissing, noteDiffers:
		return nil
	case "":
		b, err := os.ReadFile(filepath.Join(u.dir, filepath.FromSlash(s.Name)))
		if sum := sha256.Sum256(b); err == nil && hex.EncodeToString(sum[:]) == s.SHA256 {
			u.got[s.Name] = s.SHA256
			return nil
		}
		return fmt.Errorf("%s did not come", s.Name)
	default:
		return fmt.Errorf("%s came with the checksum %s; the journal says %s", s.Name, got, s.SHA256)
	}
}
