// Command cnnbench trains a small net on the CPU with the flags and the output of tf_cnn_benchmarks.
//
//	cnnbench --model=resnet50 --batch_size=64 --num_batches=100
//
// It stands in for tf_cnn_benchmarks where there is no TensorFlow or no GPU: what is said about its numbers has to say so.
// A flag that it cannot honour is refused. An image set for --data_dir is made by
//
//	cnnbench --make_data=DIR --make_images=4096
package main

import (
	"context"
	"os"

	"dlx.dev/dlx/cmd/cnnbench/bench"
)

func main() {
	ctx, stop := bench.WithSignals(context.Background())
	code := bench.Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
