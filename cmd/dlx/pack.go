package main

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"dlx.dev/dlx/executor/journal"
	"dlx.dev/dlx/results"
)

// A run folder is copied in the order of its journal: before each piece of the journal go the files
// that it speaks of. So the journal of a copy never speaks of a file that has not come, its size says
// where a copy that was cut off goes on, and a copy of a run that goes on is one of a moment before.
//
// The stream is a compressed tar. An entry of a file that is not what the journal says tells that in
// noteRecord; one of the journal tells where it belongs in atRecord.
const (
	noteRecord = "DLX.note"
	atRecord   = "DLX.at"

	packChunk = 1 << 20 // most of the journal before it is sent
)

func newPack() *cobra.Command {
	var from int64
	var sum string
	cmd := &cobra.Command{
		Use:    "pack RUN",
		Short:  "Write what a run folder has more than a copy of it",
		Hidden: true, // dlx fetch calls it where the run is
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := pack(cmd.OutOrStdout(), args[0], from, sum); err != nil {
				return usage(err)
			}
			return nil
		},
	}
	cmd.Flags().Int64Var(&from, "from", 0, "the `SIZE` of the copy's journal")
	cmd.Flags().StringVar(&sum, "sum", "", "its SHA-256")
	return cmd
}

// prefix is the checksum of the first bytes of a file.
func prefix(file string, size int64) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.CopyN(h, f, size)
	return hex.EncodeToString(h.Sum(nil)), err
}

// filesOf are the files that an event speaks of.
func filesOf(ev *journal.Event) []journal.FileSum {
	var out []journal.FileSum
	for i := range ev.Procs {
		out = append(out, ev.Procs[i].Files...)
	}
	return out
}

// pack writes what the run folder has more than a copy whose journal is the first bytes of its own,
// with their checksum.
func pack(to io.Writer, dir string, from int64, sum string) error {
	f, err := os.Open(filepath.Join(dir, results.JournalFile))
	if err != nil && (from > 0 || !errors.Is(err, fs.ErrNotExist)) {
		return err
	}
	z, _ := gzip.NewWriterLevel(to, gzip.BestSpeed) // cannot fail: the level is one
	p := &packer{dir: dir, out: tar.NewWriter(z), sent: map[string]bool{}}
	if f != nil {
		defer f.Close()
		if err := p.journal(f, from, sum); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	return errors.Join(p.out.Close(), z.Close())
}

type packer struct {
	dir   string
	out   *tar.Writer
	files map[int][]journal.FileSum // by line, from 0
	last  map[string]string         // by file: the checksum that the journal gives it last
	sent  map[string]bool
}

func (p *packer) journal(f *os.File, from int64, sum string) error {
	h := sha256.New()
	if n, err := io.CopyN(h, f, from); err != nil || hex.EncodeToString(h.Sum(nil)) != sum && from > 0 {
		return fmt.Errorf("its journal does not begin with the %d bytes of the copy's (%d are there)", from, n)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	line := 0
	p.files, p.last = map[int][]journal.FileSum{}, map[string]string{}
	whole, err := journal.Read(f, func(ev journal.Event) error {
		if some := filesOf(&ev); len(some) > 0 {
			p.files[line] = some
			for _, s := range some {
				p.last[s.Name] = s.SHA256
			}
		}
		line++
		return nil
	})
	if err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return p.lines(bufio.NewReader(io.LimitReader(f, whole)), from)
}

// lines sends the journal from a place on, and the files.
func (p *packer) lines(r *bufio.Reader, from int64) error {
	var chunk []byte
	at := int64(0) // of the next line
	flush := func() error {
		if len(chunk) == 0 {
			return nil
		}
		err := p.out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: results.JournalFile, Size: int64(len(chunk)), Mode: 0o644,
			PAXRecords: map[string]string{atRecord: strconv.FormatInt(at-int64(len(chunk)), 10)}})
		if err == nil {
			_, err = p.out.Write(chunk)
		}
		chunk = chunk[:0]
		return err
	}
	for n := 0; ; n++ {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return flush()
		}
		if err != nil {
			return err
		}
		before := at
		at += int64(len(line))
		if before < from {
			continue
		}
		for _, s := range p.files[n] {
			if err := p.file(s); err != nil {
				return err
			}
		}
		chunk = append(chunk, line...)
		if len(p.files[n]) > 0 || len(chunk) > packChunk {
			if err := flush(); err != nil {
				return err
			}
		}
	}
}

// file sends a file that the journal speaks of, once.
func (p *packer) file(s journal.FileSum) error {
	key := s.Name + " " + s.SHA256
	if p.sent[key] {
		return nil
	}
	p.sent[key] = true
	h := &tar.Header{Typeflag: tar.TypeReg, Name: s.Name, Mode: 0o644, PAXRecords: map[string]string{}}
	if p.last[s.Name] != s.SHA256 {
		h.PAXRecords[noteRecord] = noteReplaced
		return p.out.WriteHeader(h)
	}
	f, err := os.Open(filepath.Join(p.dir, filepath.FromSlash(s.Name)))
	if errors.Is(err, fs.ErrNotExist) {
		h.PAXRecords[noteRecord] = noteMissing
		return p.out.WriteHeader(h)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	if h.Size, err = io.Copy(sum, f); err != nil {
		return err
	}
	if hex.EncodeToString(sum.Sum(nil)) != s.SHA256 {
		h.PAXRecords[noteRecord] = noteDiffers
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := p.out.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.CopyN(p.out, f, h.Size)
	return err
}

// What an entry says of a file that does not come as the journal has it.
const (
	noteReplaced = "replaced" // by one that the journal speaks of later
	noteMissing  = "missing"
	noteDiffers  = "differs"
)
