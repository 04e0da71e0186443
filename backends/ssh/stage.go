package ssh

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/pkg/sftp"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/internal/supervisor"
)

// filesFolder holds what was staged, relative to the login's home.
const filesFolder = ".dlx/files"

// Stage puts a file onto the machine. It appears under its path only when it is whole there:
// it is sent under another name, its checksum is computed by the machine, then it is renamed.
func (l *Launcher) Stage(ctx context.Context, m backends.Machine, f backends.File) (string, error) {
	op := fmt.Sprintf("stage %s on %s", f.Name, m.Name)
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
	var at string
	err := l.do(ctx, m, op, func(mm *machine, c *conn) error {
		open := func() (io.ReadCloser, int64, error) {
			r, err := os.Open(f.Path)
			if err != nil {
				return nil, 0, err
			}
			st, err := r.Stat()
			if err != nil {
				_ = r.Close()
				return nil, 0, err
			}
			return r, st.Size(), nil
		}
		script, err := mm.supervisor(ctx, c)
		if err != nil {
			return err
		}
		at, err = mm.put(ctx, c, f, open, script)
		return err
	})
	return at, err
}

// supervisor gives the path of the supervisor on the machine, which it puts there if needed.
func (m *machine) supervisor(ctx context.Context, c *conn) (string, error) {
	m.mu.Lock()
	at := m.script
	m.mu.Unlock()
	if at != "" {
		return at, nil
	}
	sum := sha256.Sum256(supervisor.Text)
	f := backends.File{Name: "supervisor.sh", SHA256: hex.EncodeToString(sum[:]), Mode: 0o755}
	open := func() (io.ReadCloser, int64, error) {
		return io.NopCloser(bytes.NewReader(supervisor.Text)), int64(len(supervisor.Text)), nil
	}
	if _, err := m.put(ctx, c, f, open, ""); err != nil {
		return "", err
	}
	// Relative to the home, where every command begins: plain words, whatever the home is called.
	at = path.Join(filesFolder, f.SHA256, f.Name)
	m.mu.Lock()
	m.script = at
	m.mu.Unlock()
	return at, nil
}

// put sends a file unless it is there. The checksum is taken by the supervisor at script, or,
// for the supervisor itself, by the copy that was just sent.
func (m *machine) put(ctx context.Context, c *conn, f backends.File, open func() (io.ReadCloser, int64, error), script string) (string, error) {
	m.mu.Lock()
	turn := m.staging[f.SHA256+f.Name]
	if turn == nil {
		turn = make(chan struct{}, 1)
		m.staging[f.SHA256+f.Name] = turn
	}
	m.mu.Unlock()
	select {
	case turn <- struct{}{}:
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	defer func() { <-turn }()

	files, err := c.sftp(ctx)
	if err != nil {
		return "", err
	}
	home, err := m.homeOf(files)
	if err != nil {
		return "", err
	}
	folder := path.Join(home, filesFolder, f.SHA256)
	at := path.Join(folder, f.Name)
	mode := fs.FileMode(f.Mode).Perm()
	if mode == 0 {
		mode = 0o644
	}
	if st, err := files.Stat(at); err == nil {
		if st.Mode().Perm() != mode {
			err = files.Chmod(at, mode)
		}
		return at, err
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := files.MkdirAll(folder); err != nil {
		return "", err
	}
	temp := path.Join(folder, ".new-"+rand.Text()[:8])
	sum, err := send(ctx, files, temp, open)
	if err == nil && sum != f.SHA256 {
		err = backends.Errorf(backends.Config, "file", "%s has the checksum %s, not %s as declared", f.Path, sum, f.SHA256)
	}
	if err == nil {
		err = m.verify(ctx, c, script, temp[len(home)+1:], f.SHA256)
	}
	if err == nil {
		err = files.Chmod(temp, mode)
	}
	if err == nil {
		err = files.PosixRename(temp, at)
	}
	if err != nil {
		_ = files.Remove(temp)
		return "", err
	}
	return at, nil
}

// verify asks the machine for the checksum of a file below its home.
func (m *machine) verify(ctx context.Context, c *conn, script, file, want string) error {
	if script == "" {
		script = file
	}
	status, out, errs, err := c.exec(ctx, "sh "+script+" sum "+file, nil)
	switch {
	case err != nil:
		return err
	case status == supervisor.Cannot:
		return backends.Errorf(backends.Config, "checksum", "%s", errs)
	case status != 0 || out != want:
		return &stale{fmt.Errorf("the copy arrived torn: checksum %q (status %d), want %s", out, status, want)}
	}
	return nil
}

// send writes a file to the machine and gives the checksum of what was read.
func send(ctx context.Context, files *sftp.Client, to string, open func() (io.ReadCloser, int64, error)) (string, error) {
	r, size, err := open()
	if err != nil {
		return "", backends.Errorf(backends.Config, "read", "%w", err)
	}
	defer r.Close()
	w, err := files.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	// 64 requests of 32 KiB in flight fill a path of 2 MiB: 1 Gbit/s at 16 ms.
	_, err = w.ReadFromWithConcurrency(&source{ctx: ctx, r: io.TeeReader(r, h), size: size}, 64)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	return hex.EncodeToString(h.Sum(nil)), err
}

// source ends reading when its context does.
type source struct {
	ctx  context.Context
	r    io.Reader
	size int64
}

func (s *source) Read(p []byte) (int, error) {
	if s.ctx.Err() != nil {
		return 0, context.Cause(s.ctx)
	}
	return s.r.Read(p)
}

// Size tells sftp how much there will be.
func (s *source) Size() int64 { return s.size }

// homeOf asks once where relative paths begin.
func (m *machine) homeOf(files *sftp.Client) (string, error) {
	m.mu.Lock()
	home := m.home
	m.mu.Unlock()
	if home != "" {
		return home, nil
	}
	home, err := files.RealPath(".")
	if err != nil {
		return "", err
	}
	m.mu.Lock()
	m.home = home
	m.mu.Unlock()
	return home, nil
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
