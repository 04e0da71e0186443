package kubernetes

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"dlx.dev/dlx/backends"
)

// A command in a pod costs a cluster as much as all else that becomes of a short Job. What a
// process has printed is therefore read with how it ended, and kept until it is asked for, if it
// is little: 64 KiB a file, which outputs of benchmarks rarely have, and 16 MiB in all.
const (
	maxKept  = 64 << 10
	maxKeeps = 16 << 20
)

// exitFile is that of the exit record.
const exitFile = ".dlx/exit"

// left reads the exit record of a process that has ended.
func (p *proc) left(ctx context.Context) (status int, record, errs string, err error) {
	status, out, errs, err := p.c.ask(ctx, p.op, p.spot, nil, "left", p.folder, strconv.Itoa(maxKept))
	if err != nil || status != 0 {
		return status, "", errs, err
	}
	files, err := parseLeft(out)
	if err != nil {
		return 0, "", "", backends.Errorf(backends.Infra, p.op, "what it left: %w", err)
	}
	record = string(files[exitFile])
	delete(files, exitFile)
	p.c.keep(p.leftKey(), files)
	return 0, record, "", nil
}

// parseLeft takes apart what the supervisor's verb "left" prints.
func parseLeft(out string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for out != "" {
		line, rest, _ := strings.Cut(out, "\n")
		name, size, _ := strings.Cut(line, " ")
		n, err := strconv.Atoi(size)
		if err != nil || n < 0 || n > len(rest) {
			return nil, fmt.Errorf("%q and %d bytes: no file and its size", clip(line), len(rest))
		}
		files[name], out = []byte(rest[:n]), rest[n:]
	}
	return files, nil
}

func (p *proc) leftKey() string { return p.machine.ID + " " + p.folder }

func (c *cluster) keep(key string, files map[string][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, b := range files {
		n += len(b)
	}
	for _, b := range c.kept[key] {
		n -= len(b)
	}
	if c.keeps += n; c.keeps > maxKeeps { // nobody wants them, it seems; who does reads them again
		clear(c.kept)
		c.keeps = 0
		return
	}
	c.kept[key] = files
}

// take gives a kept file from offset on, once.
func (p *proc) take(name string, offset int64) (io.ReadCloser, bool) {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	files := p.c.kept[p.leftKey()]
	b, ok := files[name]
	if !ok {
		return nil, false
	}
	p.c.keeps -= len(b)
	if delete(files, name); len(files) == 0 {
		delete(p.c.kept, p.leftKey())
	}
	return io.NopCloser(bytes.NewReader(b[min(offset, int64(len(b))):])), true
}
