package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func newLogs() *cobra.Command {
	var role, file string
	cmd := &cobra.Command{
		Use:   "logs RUN [TRIAL]",
		Short: "Print what the processes of a trial printed; without TRIAL list the trials that have logs",
		Example: `  dlx logs runs/quickstart
  dlx logs runs/quickstart single/model=alexnet,orchestration=vm/r1 --file probe`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := logFiles(filepath.Join(args[0], "logs"))
			if err != nil {
				return usage(fmt.Errorf("%s: %w", args[0], err))
			}
			if len(args) == 1 {
				for _, t := range trialsOf(all) {
					fmt.Fprintln(cmd.OutOrStdout(), t)
				}
				return nil
			}
			var chosen []string
			for _, f := range all {
				if r := filepath.Base(filepath.Dir(f)); strings.HasPrefix(f, strings.Trim(args[1], "/")+"/") && filepath.Base(f) == file &&
					(role == "" || r == role || strings.HasPrefix(r, role+"-")) {
					chosen = append(chosen, f)
				}
			}
			if len(chosen) == 0 {
				return usage(fmt.Errorf("%s: no logs %q of trial %q; dlx logs %s lists the trials that have some", args[0], file, args[1], args[0]))
			}
			return printLogs(cmd.OutOrStdout(), filepath.Join(args[0], "logs"), chosen)
		},
	}
	cmd.Flags().StringVar(&role, "role", "", "only this `ROLE`, or one process of it (worker-0)")
	cmd.Flags().StringVar(&file, "file", "stdout", "which `FILE`: stdout, stderr or probe")
	return cmd
}

// logFiles lists the files below logs/, slash-separated and sorted.
func logFiles(root string) ([]string, error) {
	var out []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, p)
		out = append(out, filepath.ToSlash(rel))
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("has no logs")
	}
	return out, err
}

// trialsOf cuts role and file off, and the attempt of those that failed.
func trialsOf(files []string) []string {
	var out []string
	for _, f := range files {
		parts := strings.Split(f, "/")
		if len(parts) < 3 {
			continue
		}
		parts = parts[:len(parts)-2]
		if strings.HasPrefix(parts[len(parts)-1], "attempt-") {
			parts = parts[:len(parts)-1]
		}
		out = append(out, strings.Join(parts, "/"))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// printLogs writes the files, with a heading each if there are several.
func printLogs(w io.Writer, root string, files []string) error {
	for _, name := range files {
		if len(files) > 1 {
			fmt.Fprintf(w, "==> %s <==\n", name)
		}
		f, err := os.Open(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		_, err = io.Copy(w, f)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
