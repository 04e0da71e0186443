package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

const founding = "../../testdata/studies/closer2018"

// BenchmarkCommand times whole processes of a built dlx, as a user waits for them, in turns with a
// bare program that links the same packages (testdata/bare). The bars: version at most 1.15 x bare
// version and 50 ms; the plan of the founding study, 72 cells and 504 trials, at most 1.3 x bare
// plan and 300 ms.
func BenchmarkCommand(b *testing.B) {
	dir := b.TempDir()
	bin, bare := filepath.Join(dir, "dlx"), filepath.Join(dir, "bare")
	build(b, bin, ".")
	build(b, bare, "./testdata/bare")
	study := filepath.Join(dir, "study")
	if err := os.CopyFS(study, os.DirFS(founding)); err != nil {
		b.Fatal(err)
	}
	runFor(b.Context(), b, bin, "vendor", study) // for CUE alone
	for _, c := range []struct {
		name string
		dlx  []string
		bare []string
	}{
		{"version", []string{"version"}, []string{"version"}},
		{"plan", []string{"plan", "--output", "json", study}, []string{"plan", study}},
	} {
		b.Run(c.name, func(b *testing.B) {
			var ours, theirs time.Duration
			for b.Loop() {
				ours += runFor(b.Context(), b, bin, c.dlx...)
				theirs += runFor(b.Context(), b, bare, c.bare...)
			}
			b.ReportMetric(ours.Seconds()*1e3/float64(b.N), "ms/dlx")
			b.ReportMetric(theirs.Seconds()*1e3/float64(b.N), "ms/bare")
			b.ReportMetric(float64(ours)/float64(theirs), "x")
		})
	}
}

func build(b *testing.B, out, pkg string) {
	b.Helper()
	if text, err := exec.CommandContext(b.Context(), "go", "build", "-o", out, pkg).CombinedOutput(); err != nil {
		b.Fatalf("build %s: %v\n%s", pkg, err, text)
	}
}

// runFor runs a program and gives how long it took.
func runFor(ctx context.Context, b *testing.B, bin string, args ...string) time.Duration {
	b.Helper()
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Dir = b.TempDir()
	begin := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %v\n%s", args, err, out)
	}
	return time.Since(begin)
}
