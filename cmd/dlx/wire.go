package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/all"
	"dlx.dev/dlx/backends/kubernetes"
	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor"
	"dlx.dev/dlx/results/parse"
)

// opened are the backends of a run.
type opened struct {
	byCloud map[string]*backends.Backend
}

// openBackends opens the backend of each cloud of the plan. Inside a cluster, that is the cloud.
func openBackends(ctx context.Context, p *plan.Plan, f *folder, inside bool) (*opened, error) {
	o := &opened{byCloud: map[string]*backends.Backend{}}
	for _, c := range p.Clouds {
		if inside {
			var err error
			if c.Config, err = kubernetes.Inside(); err != nil {
				return nil, fmt.Errorf("cloud %s: %w", c.Name, err)
			}
		}
		b, err := openCloud(ctx, c, f.secret, stateOf(f.dir, c.Name))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("cloud %s: %w", c.Name, err), o.close(ctx))
		}
		o.byCloud[c.Name] = b
	}
	return o, nil
}

// stateOf is where the backend of a cloud keeps its own notes on a run.
func stateOf(dir, cloud string) string { return filepath.Join(dir, stateDir, cloud) }

// openCloud opens the backend of one cloud.
func openCloud(ctx context.Context, c plan.Cloud, secret []byte, state string) (*backends.Backend, error) {
	factories := all.List()
	i := slices.IndexFunc(factories, func(x backends.Factory) bool { return x.Kind == c.Backend })
	if i < 0 {
		return nil, fmt.Errorf("this dlx has no backend %q", c.Backend)
	}
	return factories[i].Open(ctx, backends.Options{Cloud: c.Name, Config: c.Config, Secret: secret, State: state})
}

func (o *opened) close(ctx context.Context) error {
	var errs []error
	for name, b := range o.byCloud {
		if err := closeBackend(ctx, b); err != nil {
			errs = append(errs, fmt.Errorf("cloud %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// closeBackend ends what opening a backend started in this process.
func closeBackend(ctx context.Context, b *backends.Backend) error {
	var errs []error
	for _, l := range b.Launchers {
		errs = append(errs, l.Close())
	}
	if b.Close != nil {
		errs = append(errs, b.Close(ctx))
	}
	return errors.Join(errs...)
}

// ownFiles finds the files that dlx brings to machines: its own executable, hashed once.
func ownFiles() func(string) (backends.File, error) {
	self := sync.OnceValues(func() (backends.File, error) {
		path, err := os.Executable()
		if err != nil {
			return backends.File{}, err
		}
		f, err := os.Open(path)
		if err != nil {
			return backends.File{}, err
		}
		defer f.Close()
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return backends.File{}, err
		}
		return backends.File{Name: "dlx", Path: path, SHA256: hex.EncodeToString(h.Sum(nil)), Mode: 0o755}, nil
	})
	return func(name string) (backends.File, error) {
		if name != "self" {
			return backends.File{}, fmt.Errorf("dlx brings no file %q", name)
		}
		return self()
	}
}

// parseTrial joins the executor with the parsers, which do not know each other.
func steady(p *plan.Plan, output []byte) bool { return parse.Steady(&p.Workload, output) }

func parseTrial(t executor.Trial) (executor.Reading, error) {
	r, err := parse.Read(&parse.Trial{Workload: &t.Plan.Workload, Cell: t.Cell, Procs: t.Procs, Dir: t.Dir})
	if err != nil {
		return executor.Reading{}, err
	}
	for i := range r.Observations {
		o := &r.Observations[i]
		for _, m := range t.Plan.Metrics {
			if m.Name == o.Metric && o.Unit == "" { // a pattern's unit is what the study says
				o.Unit = m.Unit
			}
		}
	}
	return executor.Reading{Observations: r.Observations, Warnings: r.Warnings, Invalid: r.Invalid}, nil
}
