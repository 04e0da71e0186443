package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"dlx.dev/dlx/backends/kubernetes"
	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/results"
)

// lostOptions say where to look for a detached run whose folder is not here.
type lostOptions struct {
	testbed, study, run, namespace string
}

func (o *lostOptions) check() error {
	switch {
	case o.testbed == "" && o.run+o.namespace != "":
		return usage(errors.New("--run and --namespace are about a run whose folder is not here: give --testbed as well"))
	case o.run != "" && !runID.MatchString(o.run):
		return usage(fmt.Errorf("--run: %q is no run's ID: 1 to 32 letters, digits and '-', as dlx status shows it", o.run))
	}
	return nil
}

// adopt makes a run folder for a run that is found in a cluster, with nothing of it yet.
func (o *lostOptions) adopt(ctx context.Context, dir string) error {
	for _, name := range []string{results.JournalFile, results.PlanFile, detachedFile} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return usage(fmt.Errorf("%s: is a run folder already: leave --testbed out, or choose another folder", dir))
		}
	}
	clouds, err := testbedClouds(ctx, o.testbed, o.study)
	if err != nil {
		return err
	}
	var found []*detached
	var words []string
	for i := range clouds {
		some, err := detachedRuns(ctx, &clouds[i], o.namespace)
		if err != nil {
			return &exitError{exitEnvironment, fmt.Errorf("cloud %s: %w", clouds[i].Name, err)}
		}
		for _, f := range some {
			if o.run != "" && f.Run != o.run {
				continue
			}
			found = append(found, &detached{Format: 1, Run: f.Run, Study: f.Study, Cloud: clouds[i], Namespace: f.Namespace, Machine: f.Machine, Image: f.Image, Program: f.Program})
			words = append(words, fmt.Sprintf("--run %s (study %s, namespace %s, it %s)", f.Run, f.Study, f.Namespace, stateText(f.State)))
		}
	}
	switch {
	case len(found) == 0:
		return usage(fmt.Errorf("testbed %s: no such detached run is there", o.testbed))
	case len(found) > 1:
		return usage(fmt.Errorf("testbed %s: which one: %s", o.testbed, strings.Join(words, ", ")))
	}
	if found[0].Program == "" {
		found[0].Program = onVolume(awayProgram) // its Job is gone
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return usage(err)
	}
	if err := found[0].write(dir); err != nil {
		return usage(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, results.JournalFile), os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return usage(err)
	}
	return f.Close()
}

// detachedRuns lists those of a cloud; none where the cloud has none by its nature.
func detachedRuns(ctx context.Context, c *plan.Cloud, namespace string) ([]kubernetes.DetachedFound, error) {
	if c.Backend != "kubernetes" {
		return nil, nil
	}
	if namespace == "" {
		var err error
		if namespace, err = kubernetes.NamespaceOf(c.Config); err != nil {
			return nil, err
		}
	}
	return kubernetes.FindDetached(ctx, c.Config, namespace, kubernetes.Options{})
}

// tellDetached notes the runs in a cloud that are no leftovers: who has their folder removes them.
// One that goes on keeps what its trials made.
func (g *collection) tellDetached(ctx context.Context, c *plan.Cloud) error {
	if g.folder != nil {
		return nil
	}
	found, err := detachedRuns(ctx, c, "")
	if err != nil {
		g.notes = append(g.notes, fmt.Sprintf("cloud %s: whether runs are detached there is not known: %v", c.Name, err))
		return nil
	}
	for _, f := range found {
		on := f.State.Phase == kubernetes.DetachedRunning || f.State.Phase == kubernetes.DetachedWaiting
		if on && g.run == f.Run {
			return fmt.Errorf("run %s is detached, in namespace %s, and %s: dlx gc --force RUN-FOLDER ends it", f.Run, f.Namespace, stateText(f.State))
		}
		if on {
			if g.on == nil {
				g.on = map[string]bool{}
			}
			g.on[f.Run] = true
		}
		if g.run == "" || g.run == f.Run {
			g.notes = append(g.notes, fmt.Sprintf("cloud %s: run %s of study %s is detached, in namespace %s, and %s: dlx gc RUN-FOLDER removes it; dlx fetch RUN-FOLDER --testbed T --run %s makes that folder again",
				c.Name, f.Run, f.Study, f.Namespace, stateText(f.State), f.Run))
		}
	}
	return nil
}
