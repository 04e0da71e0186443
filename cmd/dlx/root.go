package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"dlx.dev/dlx/spec/diag"
)

// Exit codes. When several apply the order is 5, 130 and 143, 3, 1.
const (
	exitOK          = 0
	exitTrials      = 1   // the run ended, and some trials failed or are invalid
	exitUsage       = 2   // the command or the spec is wrong; nothing was started
	exitEnvironment = 3   // the environment refused: login, quota, capacity, unreachable
	exitGate        = 4   // a check said no
	exitLeft        = 5   // something could not be released
	exitInterrupted = 130 // SIGINT
	exitTerminated  = 143 // SIGTERM
)

// exitError is an error that decides the exit code. A nil err prints nothing.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usage marks an error as the command's or the spec's.
func usage(err error) error { return &exitError{exitUsage, err} }

// Main runs a command line and returns the exit code. Results go to stdout, everything else to
// stderr.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot() //nolint:contextcheck // commands get ctx from ExecuteContext
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var ee *exitError
	if !errors.As(err, &ee) {
		ee = &exitError{exitUsage, err} // cobra's own: an unknown command or flag
	}
	if ee.err != nil {
		printError(stderr, ee.err)
	}
	return ee.code
}

// printError writes mistakes in the user's files with their lines, other errors with the
// program's name.
func printError(w io.Writer, err error) {
	if l := diag.AsList(err); l != nil {
		diag.Print(w, err, os.ReadFile)
		n := "1 mistake"
		if len(l) > 1 {
			n = fmt.Sprintf("%d mistakes", len(l))
		}
		fmt.Fprintln(w, n)
		return
	}
	fmt.Fprintln(w, "dlx: "+err.Error())
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "dlx",
		Short: "Compare how deep-learning training behaves on bare metal, in containers and in VMs",
		Long: `dlx compiles a study written in CUE to a plan, runs it on OpenStack, Kubernetes or
the embedded sandbox, and makes a workbook of what it measured.

  dlx init mystudy          write a study to start from
  dlx plan mystudy          see what it would do
  dlx run mystudy           do it; the same command again continues

Exit codes: 0 ok, 1 trials failed, 2 command or spec wrong, 3 environment refused,
5 something not released, 130 and 143 interrupted.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version(),
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("dlx {{.Version}}\n")
	root.AddCommand(
		newInit(), newVet(), newPlan(), newRun(), newStatus(), newLogs(), newReport(), newFetch(), newGC(), newSandbox(), newVendor(), newVersion(), newCNNBench(), newPack(), newUnpack(),
	)
	return root
}

// oneOf checks a flag with a fixed set of values.
func oneOf(flag, value string, allowed ...string) error {
	for _, a := range allowed {
		if value == a {
			return nil
		}
	}
	return usage(fmt.Errorf("--%s: %q is none of %s", flag, value, strings.Join(allowed, ", ")))
}

// writeJSON writes one document, indented.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// slashPath makes a path from the command line printable in positions on every system.
func slashPath(p string) string { return filepath.ToSlash(filepath.Clean(p)) }
