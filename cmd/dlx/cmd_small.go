package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/spf13/cobra"

	"dlx.dev/dlx/cmd/cnnbench/bench"
	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
	"dlx.dev/dlx/results"
	"dlx.dev/dlx/results/export"
	"dlx.dev/dlx/spec"
	"dlx.dev/dlx/spec/diag"
)

func newInit() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "init [FOLDER]",
		Short: "Write a study to start from",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := studyArg(args)
			if name == "" {
				abs, err := filepath.Abs(dir)
				if err != nil {
					return usage(err)
				}
				name = filepath.Base(abs)
			}
			files, err := spec.Init(dir, name)
			if err != nil {
				return usage(err)
			}
			printFiles(cmd.OutOrStdout(), files)
			fmt.Fprintf(cmd.ErrOrStderr(), "next: dlx plan %s\n", dir)
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "name of the study (default: that of the folder)")
	return cmd
}

// printFiles lists files as seen from the current folder.
func printFiles(w io.Writer, files []string) {
	for _, f := range files {
		if wd, err := os.Getwd(); err == nil && filepath.IsAbs(f) {
			if rel, err := filepath.Rel(wd, f); err == nil {
				f = rel
			}
		}
		fmt.Fprintln(w, f)
	}
}

func newVendor() *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:   "vendor [STUDY]",
		Short: "Write the schema beside a study, so that cue vet and editors find it offline",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if check {
				stale, err := spec.VendorCheck(studyArg(args))
				if err != nil {
					return usage(err)
				}
				if len(stale) > 0 {
					return &exitError{exitGate, fmt.Errorf("not up to date: %v: run dlx vendor", stale)}
				}
				return nil
			}
			files, err := spec.Vendor(studyArg(args))
			if err != nil {
				return usage(err)
			}
			printFiles(cmd.OutOrStdout(), files)
			return nil
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "write nothing; exit 4 if what is there is not this dlx's schema")
	return cmd
}

func newVet() *cobra.Command {
	var s selection
	var out string
	cmd := &cobra.Command{
		Use:   "vet [STUDY...]",
		Short: "Check studies and show every mistake with its line",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf("output", out, "text", "json"); err != nil {
				return err
			}
			if len(args) == 0 {
				args = []string{"."}
			}
			collectLess()
			var all diag.List
			for _, a := range args {
				_, err := s.compile(cmd.Context(), a)
				if l := diag.AsList(err); l != nil {
					all = append(all, l...)
				} else if err != nil {
					return err
				}
			}
			if out == "json" {
				if all == nil {
					all = diag.List{}
				}
				if err := writeJSON(cmd.OutOrStdout(), struct {
					Format   int       `json:"format"`
					Mistakes diag.List `json:"mistakes"`
				}{1, all}); err != nil {
					return err
				}
				if len(all) > 0 {
					return &exitError{exitUsage, nil}
				}
				return nil
			}
			if err := all.Err(); err != nil {
				return usage(err)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&s.testbed, "testbed", "T", "sandbox", "the testbed to check against: a CUE file, or a `NAME`")
	cmd.Flags().StringArrayVarP(&s.tags, "inject", "t", nil, "set a @tag of the study: `key=value` (repeatable)")
	cmd.Flags().StringVar(&out, "output", "text", "`FORM`: text or json")
	return cmd
}

func newReport() *cobra.Command {
	return &cobra.Command{
		Use:   "report RUN",
		Short: "Make the tables and the workbook again, from a run folder alone",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := results.Load(args[0])
			if err != nil {
				return usage(err)
			}
			files, err := export.All(filepath.Join(args[0], results.ResultsDir), results.Tabulate(r))
			if err != nil {
				return &exitError{exitEnvironment, err}
			}
			for _, f := range files {
				fmt.Fprintln(cmd.OutOrStdout(), f)
			}
			return nil
		},
	}
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version and the formats this dlx reads and writes",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), versionText())
			return err
		},
	}
}

// versionText is what dlx version prints.
func versionText() string {
	return fmt.Sprintf("dlx %s\nplan format %d, journal format %d, cnnbench %s\n", version(), plan.Format, journal.Format, bench.Version)
}

// version is what the build says of itself.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "devel"
	}
	return info.Main.Version
}

// newCNNBench is the workload that dlx stages onto machines as part of itself.
func newCNNBench() *cobra.Command {
	return &cobra.Command{
		Use:                "cnnbench [FLAGS]",
		Short:              "Train a small net on the CPU with the flags and lines of tf_cnn_benchmarks",
		Hidden:             true,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := bench.WithSignals(cmd.Context())
			defer stop()
			if code := bench.Main(ctx, args, os.Stdout, os.Stderr); code != 0 {
				return &exitError{code, nil}
			}
			return nil
		},
	}
}
