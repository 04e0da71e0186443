package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"dlx.dev/dlx/backends/sandbox"
)

var update = flag.Bool("update", false, "rewrite the goldens in the scripts")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"dlx": func() { os.Exit(Main(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) }, //nolint:forbidigo // this is a main
	})
}

// TestScripts runs the command line as users do: each script of testdata/script in a folder of
// its own, with what it prints compared word by word.
func TestScripts(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Condition: func(cond string) (bool, error) {
			if cond != "namespaces" {
				return false, fmt.Errorf("unknown condition %q", cond)
			}
			return sandbox.TryNamespaces(t.TempDir()) == nil, nil
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("QUICKSTART", filepath.Join(root, "testdata", "studies", "quickstart"))
			e.Setenv("CLOSER2018", filepath.Join(root, "testdata", "studies", "closer2018"))
			return nil
		},
	})
}
