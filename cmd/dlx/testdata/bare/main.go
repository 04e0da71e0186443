// Command bare is what dlx is measured against: it links the same packages and does the least that
// the same work takes. "bare version" does nothing; "bare plan DIR" evaluates a study by CUE alone
// and writes it as JSON.
package main

import (
	"fmt"
	"os"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/cuecontext"
	"cuelang.org/go/cue/load"

	_ "github.com/spf13/cobra"
	_ "github.com/vbauerster/mpb/v8"

	_ "dlx.dev/dlx/backends/all"
	_ "dlx.dev/dlx/cmd/cnnbench/bench"
	_ "dlx.dev/dlx/compiler"
	_ "dlx.dev/dlx/executor"
	_ "dlx.dev/dlx/results/export"
	_ "dlx.dev/dlx/results/parse"
	_ "dlx.dev/dlx/spec"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Println("bare")
		return
	}
	inst := load.Instances([]string{"."}, &load.Config{Dir: os.Args[2]})
	v := cuecontext.New().BuildInstance(inst[0]).LookupPath(cue.ParsePath("study"))
	if err := v.Validate(cue.Concrete(true)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	b, err := v.MarshalJSON()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(string(b))
}
