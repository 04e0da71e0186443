package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"

	"github.com/pkg/sftp"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/internal/supervisor"
)

// chunk is how much is read at once: 32 requests of sftp in flight.
const chunk = 1 << 20

// Open reads a file that a process left. A connection lost in the middle is made again; the
// stream goes on where it was.
func (l *Launcher) Open(ctx context.Context, m backends.Machine, id, name string, offset int64) (io.ReadCloser, error) {
	op := fmt.Sprintf("open %s of %s on %s", name, id, m.Name)
	folder, err := supervisor.Folder(id)
	switch {
	case err != nil:
	case !filepath.IsLocal(name):
		err = fmt.Errorf("%q leads out of the process's folder", name)
	case offset < 0:
		err = fmt.Errorf("offset %d is negative", offset)
	}
	if err != nil {
		return nil, &backends.Error{Class: backends.Config, Op: op, Err: err}
	}
	r := &stream{ctx: ctx, l: l, m: m, op: op, path: path.Join(".dlx/procs", folder, name), at: offset}
	return r, l.do(ctx, m, op, r.open)
}

// stream reads a remote file in large pieces.
type stream struct {
	ctx  context.Context
	l    *Launcher
	m    backends.Machine
	op   string
	path string // relative to the login's home

	file *sftp.File
	at   int64 // where the next piece begins
	buf  []byte
	rest []byte // read and not yet given out
	end  error
}

func (s *stream) open(_ *machine, c *conn) error {
	files, err := c.sftp(s.ctx)
	if err != nil {
		return err
	}
	f, err := files.Open(s.path)
	if err == nil {
		var st fs.FileInfo
		if st, err = f.Stat(); err == nil && !st.Mode().IsRegular() {
			_ = f.Close()
			return backends.Errorf(backends.Workload, "file", "it is no regular file: %w", backends.ErrNotFound)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return backends.Errorf(backends.Workload, "file", "%w", backends.ErrNotFound)
	}
	s.file = f
	return err
}

func (s *stream) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		if s.end != nil {
			return 0, s.end
		}
		s.fill()
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// fill reads the next piece, over a new connection if the old one is lost.
func (s *stream) fill() {
	if s.buf == nil {
		s.buf = make([]byte, chunk)
	}
	err := s.l.do(s.ctx, s.m, s.op, func(m *machine, c *conn) error {
		if s.file == nil {
			if err := s.open(m, c); err != nil {
				return err
			}
		}
		n, err := s.file.ReadAt(s.buf, s.at)
		s.rest, s.at = s.buf[:n], s.at+int64(n)
		switch {
		case errors.Is(err, io.EOF) && s.living():
			s.end = io.EOF
		case err != nil:
			_ = s.file.Close()
			s.file = nil // what was read counts; the next piece comes over another connection
			if n == 0 {
				return fmt.Errorf("read: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		s.end = err
	}
}

// living tells the end of the file from that of the connection: writing to a channel that is closed
// is io.EOF as well.
func (s *stream) living() bool {
	_, err := s.file.Stat()
	return err == nil
}

// Close lets the file go; a lost connection has done so already.
func (s *stream) Close() error {
	if s.file != nil {
		_ = s.file.Close()
	}
	s.end = fs.ErrClosed
	s.file, s.rest = nil, nil
	return nil
}
