package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"dlx.dev/dlx/backends/kubernetes"
	"dlx.dev/dlx/compiler/plan"
)

// detachedFile, in a run folder, says that the run goes on in a cluster: no dlx continues it here
// while it is there. It is written before anything is asked for, and goes when all of it is gone.
const detachedFile = "detached.json"

// A detached says where the run of a folder goes on.
type detached struct {
	Format    int             `json:"format"`
	Run       string          `json:"run"`
	Study     string          `json:"study"` // its name
	Cloud     plan.Cloud      `json:"cloud"`
	Namespace string          `json:"namespace"`
	Machine   json.RawMessage `json:"machine"` // whose image is that of dlx
	Image     string          `json:"image,omitempty"`
	Program   string          `json:"program,omitempty"` // dlx, as its pod calls it
	Fetched   bool            `json:"fetched"`           // all of it, after its end
	Removed   bool            `json:"removed,omitempty"` // but for what its trials left
}

// readDetached reads whether and where the run of a folder is detached; nil: it is not.
func readDetached(dir string) (*detached, error) {
	file := filepath.Join(dir, detachedFile)
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	d := &detached{}
	if err := json.Unmarshal(b, d); err != nil || d.Format != 1 {
		return nil, fmt.Errorf("%s: not written by this dlx (format %d, %w)", file, d.Format, err)
	}
	return d, nil
}

func (d *detached) write(dir string) error {
	b, err := json.Marshal(d) // without indents, which would go into the cloud's settings as well
	if err != nil {
		return err
	}
	return renameio.WriteFile(filepath.Join(dir, detachedFile), append(b, '\n'), 0o644)
}

// open finds the cluster.
func (d *detached) open(ctx context.Context) (*kubernetes.Detached, error) {
	return kubernetes.DetachedIn(ctx, d.Cloud.Config, kubernetes.Detach{Run: d.Run, Namespace: d.Namespace, Study: d.Study, Machine: d.Machine, Image: d.Image}, kubernetes.Options{})
}

// where names the place for people.
func (d *detached) where() string {
	return fmt.Sprintf("cloud %s, namespace %s", d.Cloud.Name, d.Namespace)
}

// refuse is the error for commands that would write into a folder whose run is elsewhere.
func (d *detached) refuse(dir string) error {
	return &exitError{exitEnvironment, fmt.Errorf("%s: its run is detached, in %s: dlx status %s says how it is, dlx run with --detach continues it there, "+
		"and after dlx fetch %s and dlx gc %s it continues here", dir, d.where(), dir, dir, dir)}
}
