package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/kubernetes"
	"dlx.dev/dlx/results"
)

// Paths on the volume.
const (
	awayProgram = "dlx"
	awayPlan    = results.PlanFile
	awayFolder  = "run"
)

func onVolume(name string) string { return kubernetes.DetachedHome + "/" + name }

func (a *away) start(ctx context.Context) error {
	if err := a.cluster.Make(ctx, a.volume); err != nil {
		return err
	}
	a.say("waiting for a pod with the volume of %s", a.cluster.Name())
	in, leave, err := a.cluster.Enter(ctx)
	if err == nil {
		a.say("bringing dlx and its plan to %s", a.mark.where())
		err = a.bring(ctx, in)
	}
	if leave != nil {
		err = errors.Join(err, leave(context.WithoutCancel(ctx)))
	}
	if err != nil {
		return err
	}
	if err := a.mark.write(a.dir); err != nil {
		return err
	}
	words := []string{a.mark.Program, "run", onVolume(awayPlan), "--dir", onVolume(awayFolder), "--inside", a.mark.Run, "--progress", "plain", "--jobs", strconv.Itoa(a.jobs)}
	if a.failFast {
		words = append(words, "--fail-fast")
	}
	a.state, err = a.cluster.Start(ctx, words)
	return err
}

// bring puts onto the volume what the run needs: dlx, unless the image has it, the plan, and what
// was measured before.
func (a *away) bring(ctx context.Context, in *kubernetes.Inlet) error {
	if err := a.program(ctx, in); err != nil {
		return err
	}
	if err := in.Put(ctx, backends.File{Name: results.PlanFile, Path: filepath.Join(a.dir, results.PlanFile)}, awayPlan); err != nil {
		return err
	}
	return a.history(ctx, in.Pod)
}

// history brings what the folder here has more than that on the volume: what was measured before.
// What was measured there since is in both or there alone.
func (a *away) history(ctx context.Context, pod string) error {
	at := onVolume(awayFolder)
	var text bytes.Buffer
	if err := a.cluster.Exec(ctx, pod, nil, &text, "/bin/sh", "-c", `mkdir -p "$1" && touch "$2" && wc -c <"$2"`, "dlx", at, at+"/"+results.JournalFile); err != nil {
		return err
	}
	there, err := strconv.ParseInt(strings.TrimSpace(text.String()), 10, 64)
	if err != nil {
		return fmt.Errorf("size of the journal in the cluster: %w", err)
	}
	file := filepath.Join(a.dir, results.JournalFile)
	info, err := os.Stat(file)
	if err != nil || info.Size() <= there {
		return err
	}
	sum, err := prefix(file, there)
	if err != nil {
		return err
	}
	r, w := io.Pipe()
	go func() { _ = w.CloseWithError(pack(w, a.dir, there, sum)) }()
	err = a.cluster.Exec(ctx, pod, r, io.Discard, a.mark.Program, "unpack", at, "--from", strconv.FormatInt(there, 10), "--sum", sum)
	_ = r.CloseWithError(err)
	return err
}

// program finds a dlx that runs in the image: this one, or one of the image's that is the same.
func (a *away) program(ctx context.Context, in *kubernetes.Inlet) error {
	want := versionText()
	says := func(program string) (string, error) {
		var out bytes.Buffer
		err := a.cluster.Exec(ctx, in.Pod, nil, &out, "/bin/sh", "-c", `exec "$1" version`, "dlx", program)
		return out.String(), err
	}
	var why error
	if runtime.GOOS == "linux" {
		self, err := ownFiles()("self")
		if err != nil {
			return err
		}
		if err := in.Put(ctx, self, awayProgram); err != nil {
			return err
		}
		a.mark.Program = onVolume(awayProgram)
		text, err := says(a.mark.Program)
		if err == nil && text == want {
			return nil
		}
		if why = err; err == nil {
			why = fmt.Errorf("it says that it is %q", text)
		}
	} else {
		why = fmt.Errorf("it is one for %s", runtime.GOOS)
	}
	if text, err := says("dlx"); err == nil && text == want {
		a.mark.Program = "dlx"
		return nil
	}
	return fmt.Errorf("this dlx does not run in the pod's image, and that has none of its version: build it without shared libraries (CGO_ENABLED=0) "+
		"for the nodes' processors, or name an image that has it, by --image: %w", why)
}
