// Command kubectl is the real one, at the release that the sandbox follows. It is a module of its
// own, so that dlx needs none of it.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
)

func main() { os.Exit(cli.Run(cmd.NewDefaultKubectlCommand())) }
