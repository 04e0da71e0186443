package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "dlx.dev/dlx"

// layers says what each part of the house may import of the others. The longest prefix that
// fits a package is its layer; packages of one layer may import each other.
var layers = map[string][]string{
	"spec/diag":        {},
	"spec/words":       {},
	"spec":             {"spec/diag", "spec/words"},
	"compiler/plan":    {"spec/diag"},
	"compiler":         {"spec", "spec/diag", "compiler/plan"},
	"backends":         {}, // the contract
	"backends/":        {"backends", "spec/words"},
	"executor/journal": {"backends"},
	"executor":         {"compiler/plan", "backends", "executor/journal"},
	"results":          {"compiler/plan", "executor/journal", "backends"},
	"cmd/cnnbench":     {},
	"cmd/dlx": {
		"spec", "spec/diag", "spec/words", "compiler", "compiler/plan", "backends", "backends/", "executor", "executor/journal", "results", "cmd/cnnbench",
	},
}

// only says which folders may import what lies outside the module.
var only = map[string][]string{
	"cuelang.org/go":          {"spec"},
	"github.com/gophercloud/": {"backends/openstack", "backends/sandbox", "backends/all"},
	"k8s.io/":                 {"backends/kubernetes", "backends/sandbox", "backends/all", "backends/backendtest"},
	"github.com/xuri/":        {"results/export"},
	"github.com/spf13/":       {"cmd/dlx"},
	"golang.org/x/crypto/ssh": {"backends/ssh", "backends/sandbox", "backends/openstack", "backends/backendtest"},
}

// layerOf finds the layer of a package, given relative to the module.
func layerOf(pkg string) string {
	if rest, ok := strings.CutPrefix(pkg, "backends"); ok && rest != "" {
		return "backends/"
	}
	best := ""
	for l := range layers {
		if (pkg == l || strings.HasPrefix(pkg, l+"/")) && len(l) > len(best) {
			best = l
		}
	}
	return best
}

func TestImportsGoOneWay(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		pkg := strings.TrimPrefix(words[0], module+"/")
		layer := layerOf(pkg)
		if layer == "" {
			t.Errorf("%s belongs to no layer: add it to the table", pkg)
		}
		for _, imp := range words[1:] {
			if rel, ok := strings.CutPrefix(imp, module+"/"); ok {
				if to := layerOf(rel); to != layer && !slices.Contains(layers[layer], to) {
					t.Errorf("%s imports %s: layer %q may import only %q", pkg, rel, layer, layers[layer])
				}
				continue
			}
			for prefix, folders := range only {
				if strings.HasPrefix(imp, prefix) && !slices.ContainsFunc(folders, func(f string) bool { return pkg == f || strings.HasPrefix(pkg, f+"/") }) {
					t.Errorf("%s imports %s, which only %q may", pkg, imp, folders)
				}
			}
			if layer == "executor" && imp == "net/http" {
				t.Errorf("%s imports net/http: the executor knows no cloud", pkg)
			}
		}
	}
}
