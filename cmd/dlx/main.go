// Command dlx compiles studies of deep-learning training written in CUE to plans, and runs them on
// bare metal, in containers and in VMs.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(Main(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}
