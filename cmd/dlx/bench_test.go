package main

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// BenchmarkCommand times whole processes of a built dlx, as a user waits for them. The bars are
// 50 ms for version and 100 ms for the plan of the quickstart.
func BenchmarkCommand(b *testing.B) {
	bin := filepath.Join(b.TempDir(), "dlx")
	if out, err := exec.CommandContext(b.Context(), "go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		b.Fatalf("build: %v\n%s", err, out)
	}
	for name, args := range map[string][]string{
		"version": {"version"},
		"plan":    {"plan", "--output", "json", "../../testdata/studies/quickstart"},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if out, err := exec.CommandContext(b.Context(), bin, args...).CombinedOutput(); err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
			}
		})
	}
}
