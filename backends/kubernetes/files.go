package kubernetes

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/internal/supervisor"
)

// Open reads a file of a process through the holder of its machine. A connection lost in the
// middle is made again; the stream goes on where it was, to the size the file had first.
func (l *Launcher) Open(ctx context.Context, m backends.Machine, id, name string, offset int64) (io.ReadCloser, error) {
	p, err := l.process(ctx, "open "+name+" of", m, id)
	switch {
	case err != nil:
		return nil, err
	case !filepath.IsLocal(name):
		return nil, backends.Errorf(backends.Config, p.op, "%q leads out of the process's folder", name)
	case offset < 0:
		return nil, backends.Errorf(backends.Config, p.op, "offset %d is negative", offset)
	}
	if r, ok := p.take(name, offset); ok {
		return r, nil
	}
	ctx, end := context.WithCancelCause(ctx)
	s := &stream{ctx: ctx, end: end, p: p, name: filepath.ToSlash(name), at: offset, size: -1}
	if err := s.open(); err != nil {
		end(nil)
		return nil, err
	}
	return s, nil
}

// stream reads a remote file by commands that print it.
type stream struct {
	ctx  context.Context
	end  context.CancelCauseFunc
	p    *proc
	name string
	at   int64 // of what is given out next
	size int64 // where it ends; -1: not known yet

	from *bufio.Reader // what the command prints; nil: none runs
	pipe *io.PipeReader
	done chan error // how the command ended
	err  error      // what Read answers from now on
}

// open starts a command that prints the rest of the file, as often as patience allows.
func (s *stream) open() error {
	began, pause := time.Now(), 100*time.Millisecond
	c := s.p.c
	for {
		err := s.try()
		var classed *backends.Error
		switch {
		case err == nil:
			return nil
		case s.ctx.Err() != nil:
			return fmt.Errorf("%s: %w", s.p.op, context.Cause(s.ctx))
		case errors.As(err, &classed):
			return &backends.Error{Class: classed.Class, Op: s.p.op, Err: err}
		}
		if gone := c.holderGone(s.p.spot); gone != nil {
			return &backends.Error{Class: backends.Infra, Op: s.p.op, Err: gone}
		}
		failed := c.fail(s.ctx, s.p.op, err)
		if !backends.ClassOf(failed).Temporary() || time.Since(began) > c.opt.Patience {
			return failed
		}
		c.log("%v; trying again in %v", failed, pause)
		if !sleep(s.ctx, pause) {
			return fmt.Errorf("%s: %w", s.p.op, context.Cause(s.ctx))
		}
		pause = min(2*pause, 5*time.Second)
	}
}

// try starts a command and reads the size it begins with.
func (s *stream) try() error {
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		status, errs, err := s.p.c.supervise(s.ctx, s.p.spot, s.p.holder, nil, w, "show", s.p.folder, s.name, strconv.FormatInt(s.at, 10))
		switch {
		case err != nil:
		case status == supervisor.Unknown:
			err = backends.Errorf(backends.Workload, "file", "%w", backends.ErrNotFound)
		case status != 0:
			err = fmt.Errorf("show ended with %d: %s", status, clip(errs))
		}
		_ = w.CloseWithError(err)
		done <- err
	}()
	from := bufio.NewReaderSize(r, 64<<10)
	line, err := from.ReadString('\n')
	if err == nil {
		var size int64
		if size, err = strconv.ParseInt(strings.TrimSpace(line), 10, 64); err == nil {
			if s.size < 0 {
				s.size = max(size, s.at)
			}
			if size < s.size && size > 0 && s.at < s.size {
				err = backends.Errorf(backends.Workload, "file", "it shrank from %d to %d bytes", s.size, size)
			}
		}
	}
	if err != nil {
		_ = r.CloseWithError(err)
		if ended := <-done; ended != nil && errors.Is(err, io.EOF) {
			err = ended
		}
		return err
	}
	s.from, s.pipe, s.done = from, r, done
	return nil
}

// stopCommand ends the command and what reads from it.
func (s *stream) stopCommand() {
	if s.from == nil {
		return
	}
	_ = s.pipe.CloseWithError(fs.ErrClosed)
	if err := <-s.done; err != nil && s.ctx.Err() == nil {
		s.p.c.log("%s: %v", s.p.op, err)
	}
	s.from = nil
}

func (s *stream) Read(p []byte) (int, error) {
	for s.err == nil {
		if s.size-s.at <= 0 {
			s.stopCommand()
			s.err = io.EOF
			break
		}
		if s.from == nil {
			if s.err = s.open(); s.err != nil {
				break
			}
		}
		n, err := s.from.Read(p[:min(int64(len(p)), s.size-s.at)])
		s.at += int64(n)
		if n > 0 {
			return n, nil
		}
		if err != nil { // it broke: the next command goes on from here
			s.stopCommand()
			if s.ctx.Err() != nil {
				s.err = fmt.Errorf("%s: %w", s.p.op, context.Cause(s.ctx))
			}
		}
	}
	return 0, s.err
}

// Close ends the command, if it has not printed all.
func (s *stream) Close() error {
	s.end(fs.ErrClosed)
	s.stopCommand()
	if s.err == nil {
		s.err = fs.ErrClosed
	}
	return nil
}

// Stage puts a file onto the scratch volume of a machine. It appears under its path when it is
// whole there: the supervisor checks it before it renames it.
func (l *Launcher) Stage(ctx context.Context, m backends.Machine, f backends.File) (string, error) {
	op := opOf("stage", f.Name, m)
	if f.Name == "" || f.Name == "." || f.Name == ".." || strings.ContainsAny(f.Name, "/\x00\n") {
		return "", backends.Errorf(backends.Config, op, "%q is not a base name", f.Name)
	}
	if f.SHA256 == "" {
		var err error
		if f.SHA256, err = sumOf(f.Path); err != nil {
			return "", backends.Errorf(backends.Config, op, "%w", err)
		}
	}
	if b, err := hex.DecodeString(f.SHA256); err != nil || len(b) != sha256.Size || f.SHA256 != strings.ToLower(f.SHA256) {
		return "", backends.Errorf(backends.Config, op, "%q is not a SHA-256 in small hex digits", f.SHA256)
	}
	s, c, err := l.reach(ctx, m)
	if err != nil {
		return "", err
	}
	mode := fs.FileMode(f.Mode).Perm()
	if mode == 0 {
		mode = 0o644
	}
	octal := strconv.FormatUint(uint64(mode), 8)
	key := strings.Join([]string{m.ID, f.SHA256, f.Name, octal}, " ")
	leave, err := c.staging.Enter(ctx, m.ID+f.SHA256+f.Name)
	if err != nil {
		return "", fmt.Errorf("%s: %w", op, err)
	}
	defer leave()
	c.mu.Lock()
	at := c.staged[key]
	c.mu.Unlock()
	if at != "" {
		return at, nil
	}
	status, out, errs, err := c.ask(ctx, op, s, nil, "have", f.SHA256, f.Name, octal)
	if err == nil && status == supervisor.Unknown {
		out, errs, status, err = c.send(ctx, op, s, f, octal)
	}
	switch at = strings.TrimSuffix(out, "\n"); {
	case err != nil:
		return "", err
	case status == supervisor.Cannot:
		return "", backends.Errorf(backends.Config, op, "%s", clip(errs))
	case status != 0 || !strings.HasPrefix(at, "/"):
		return "", backends.Errorf(backends.Infra, op, "status %d: %s", status, clip(errs))
	}
	c.mu.Lock()
	c.staged[key] = at
	c.mu.Unlock()
	return at, nil
}

// tries is how often a file that arrives torn is sent.
const tries = 3

// send sends a file whose checksum here is what it should be.
func (c *cluster) send(ctx context.Context, op string, s *spot, f backends.File, octal string) (out, errs string, status int, err error) {
	sum, err := sumOf(f.Path)
	if err != nil {
		return "", "", 0, backends.Errorf(backends.Config, op, "%w", err)
	}
	if sum != f.SHA256 {
		return "", "", 0, backends.Errorf(backends.Config, op, "%s has the checksum %s, not %s as declared", f.Path, sum, f.SHA256)
	}
	st, err := os.Stat(f.Path)
	if err != nil {
		return "", "", 0, backends.Errorf(backends.Config, op, "%w", err)
	}
	for range tries {
		status, out, errs, err = c.ask(ctx, op, s, func() (io.ReadCloser, error) { return os.Open(f.Path) },
			"put", f.SHA256, f.Name, octal, strconv.FormatInt(st.Size(), 10))
		if err != nil || status != supervisor.Torn {
			return out, errs, status, err
		}
	}
	return "", "", 0, backends.Errorf(backends.Transport, op, "the copy arrived torn %d times", tries)
}

func sumOf(file string) (string, error) {
	r, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
