package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"dlx.dev/dlx/backends/kubernetes"
	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/results"
)

// takeFolder finds a run by its folder, and holds that.
func (g *collection) takeFolder(ctx context.Context, dir string) (err error) {
	f, p, err := holdFolder(dir)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	if g.away, err = readDetached(dir); err != nil {
		return usage(err)
	}
	if g.run = f.history.Run; g.run == "" && g.away != nil {
		g.run = g.away.Run // nothing of it was fetched
	}
	switch {
	case g.run == "":
		return usage(fmt.Errorf("%s: no run was ever begun in it", dir))
	case p == nil && g.clouds == nil:
		return usage(fmt.Errorf("%s: has no %s, which says where the run was: give --testbed as well", dir, results.PlanFile))
	case g.clouds == nil:
		g.clouds = p.Clouds
	}
	g.folder = f
	if g.away == nil {
		return nil
	}
	return g.takeAway(ctx)
}

// takeAway finds out whether a detached run may be removed, and looks for what it left where its
// trials were.
func (g *collection) takeAway(ctx context.Context) error {
	g.clouds, g.ids = slices.Clone(g.clouds), map[string]string{}
	for i := range g.clouds {
		c := &g.clouds[i]
		if c.ID() != g.away.Cloud.ID() {
			continue
		}
		config, err := kubernetes.WithNamespace(c.Config, g.away.Namespace)
		if err != nil {
			return usage(fmt.Errorf("cloud %s: %w", c.Name, err))
		}
		g.ids[c.Name] = c.ID()
		*c = plan.Cloud{Name: c.Name, Backend: c.Backend, Config: config}
	}
	if g.force || g.away.Removed || g.away.Program == "" { // without a program it never began
		return nil
	}
	cluster, err := g.away.open(ctx)
	if err != nil {
		return &exitError{exitEnvironment, err}
	}
	defer cluster.Close() //nolint:errcheck // lets connections go
	state, err := cluster.State(ctx)
	dir := g.folder.dir
	switch {
	case err != nil:
		return &exitError{exitEnvironment, err}
	case state.Phase == kubernetes.DetachedRunning || state.Phase == kubernetes.DetachedWaiting:
		return &exitError{exitEnvironment, fmt.Errorf("%s: its run %s, in %s: wait for its end, or end it now by --force; what it has measured, dlx fetch %s brings before",
			dir, stateText(state), g.away.where(), dir)}
	case !g.away.Fetched:
		return &exitError{exitEnvironment, fmt.Errorf("%s: its run %s, and was not fetched: dlx fetch %s, or lose what is there by --force", dir, stateText(state), dir)}
	}
	return nil
}

// collectAway removes a detached run itself: its Job, its account and its folder there.
func (g *collection) collectAway(ctx context.Context) error {
	if g.away == nil || g.away.Removed {
		return nil
	}
	cluster, err := g.away.open(ctx)
	if err != nil {
		return &exitError{exitEnvironment, err}
	}
	defer cluster.Close() //nolint:errcheck // lets connections go
	thing := gcThing{Cloud: g.away.Cloud.Name, Kind: "detached run", Name: cluster.Name(), Run: g.away.Run, Did: gcListed}
	if !g.dry {
		limited, cancel := context.WithTimeoutCause(ctx, releaseTime, fmt.Errorf("not done after %v", releaseTime))
		defer cancel()
		if err := cluster.Remove(limited); err != nil {
			thing.Did, thing.Why = gcLeft, err.Error()
			g.things = append(g.things, thing)
			return &exitError{exitLeft, err}
		}
		thing.Did, g.away.Removed = gcReleased, true
		if err := g.away.write(g.folder.dir); err != nil {
			return &exitError{exitEnvironment, err}
		}
	}
	g.things = append(g.things, thing)
	return nil
}

// comeBack lets a run go on here whose detached form is gone, with all that it left.
func (g *collection) comeBack() error {
	if g.away == nil || slices.ContainsFunc(g.things, func(x gcThing) bool { return x.Did == gcLeft }) {
		return nil
	}
	if err := os.Remove(filepath.Join(g.folder.dir, detachedFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
