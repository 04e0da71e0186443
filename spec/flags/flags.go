// Package flags knows the flags of tf_cnn_benchmarks and of cnnbench: their types, their values
// and the rules between them.
//
// It is pure and knows no CUE, so that the reader of a study can check what is written, and the
// compiler can check once more what a cell ends up with.
package flags

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// Kinds of workload whose flags are known.
const (
	TFCNN    = "tf_cnn_benchmarks"
	CNNBench = "cnnbench"
)

// Type is the type of a flag's value.
type Type uint8

// Types.
const (
	String Type = iota
	Int
	Float
	Bool
)

func (t Type) String() string {
	return [...]string{"a string", "a whole number", "a number", "true or false"}[t]
}

// A Flag is one flag of a program.
type Flag struct {
	Name   string
	Type   Type
	Values []string // of a String: those allowed; nil: any
	Min    int      // of an Int or Float
}

// Known reports whether the flags of a kind of workload are known here.
func Known(kind string) bool { return kind == TFCNN || kind == CNNBench }

// Names are the flags of a kind in the order of the alphabet; nil if they are not known.
func Names(kind string) []string {
	var out []string
	for _, f := range table(kind) {
		out = append(out, f.Name)
	}
	slices.Sort(out)
	return out
}

// Lookup finds a flag of a kind of workload.
func Lookup(kind, name string) (Flag, bool) {
	for _, f := range table(kind) {
		if f.Name == name {
			return f, true
		}
	}
	return Flag{}, false
}

func table(kind string) []Flag {
	switch kind {
	case TFCNN:
		return upstream
	case CNNBench:
		return standIn
	default:
		return nil
	}
}

// Problem is what is wrong with a value of the flag, as text, or "". Booleans and numbers are
// texts here as on a command line; numbers are decimal, without a sign of plus.
func (f Flag) Problem(value string) string {
	switch f.Type {
	case Int:
		n, err := strconv.Atoi(value)
		if err != nil {
			return "found " + strconv.Quote(value) + "; a whole number is wanted"
		}
		if n < f.Min {
			return "found " + value + "; a whole number of at least " + strconv.Itoa(f.Min) + " is wanted"
		}
	case Float:
		x, err := strconv.ParseFloat(value, 64)
		if err != nil || math.IsNaN(x) || math.IsInf(x, 0) || strings.ContainsAny(value, "xX_") {
			return "found " + strconv.Quote(value) + "; a number is wanted"
		}
		if x < float64(f.Min) {
			return "found " + value + "; a number of at least " + strconv.Itoa(f.Min) + " is wanted"
		}
	case Bool:
		if value != "true" && value != "false" {
			return "found " + strconv.Quote(value) + "; true or false is wanted"
		}
	default:
		if f.Values != nil && !slices.Contains(f.Values, value) {
			return "unknown value " + strconv.Quote(value) + " (known: " + strings.Join(f.Values, ", ") + ")"
		}
	}
	return ""
}

// upstream holds the flags of tf_cnn_benchmarks in its branches from cnn_tf_v1.5_compatible to
// cnn_tf_v2.1_compatible, as far as a benchmark study has a use for them.
var upstream = []Flag{
	{Name: "model", Values: []string{"alexnet", "googlenet", "inception3", "inception4", "lenet", "overfeat", "resnet101", "resnet152", "resnet50", "resnet50_v1.5", "trivial", "vgg11", "vgg16", "vgg19"}},
	{Name: "batch_size", Type: Int},
	{Name: "num_gpus", Type: Int, Min: 1},
	{Name: "num_batches", Type: Int, Min: 1},
	{Name: "num_epochs", Type: Float},
	{Name: "num_warmup_batches", Type: Int},
	{Name: "autotune_threshold", Type: Int},
	{Name: "display_every", Type: Int, Min: 1},
	{Name: "data_dir"},
	{Name: "data_name", Values: []string{"cifar10", "coco", "imagenet", "librispeech"}},
	{Name: "data_format", Values: []string{"NCHW", "NHWC"}},
	{Name: "device", Values: []string{"cpu", "gpu"}},
	{Name: "local_parameter_device", Values: []string{"cpu", "gpu"}},
	{Name: "variable_update", Values: []string{"collective_all_reduce", "distributed_all_reduce", "distributed_replicated", "horovod", "independent", "parameter_server", "replicated"}},
	{Name: "all_reduce_spec"},
	{Name: "job_name", Values: []string{"controller", "ps", "worker"}},
	{Name: "ps_hosts"},
	{Name: "worker_hosts"},
	{Name: "controller_host"},
	{Name: "task_index", Type: Int},
	{Name: "server_protocol"},
	{Name: "cross_replica_sync", Type: Bool},
	{Name: "use_fp16", Type: Bool},
	{Name: "xla", Type: Bool},
	{Name: "optimizer", Values: []string{"adam", "momentum", "rmsprop", "sgd"}},
	{Name: "learning_rate", Type: Float},
	{Name: "momentum", Type: Float},
	{Name: "weight_decay", Type: Float},
	{Name: "distortions", Type: Bool},
	{Name: "forward_only", Type: Bool},
	{Name: "eval", Type: Bool},
	{Name: "print_training_accuracy", Type: Bool},
	{Name: "loss_type_to_report", Values: []string{"base_loss", "total_loss"}},
	{Name: "train_dir"},
	{Name: "trace_file"},
	{Name: "benchmark_log_dir"},
	{Name: "benchmark_test_id"},
	{Name: "num_intra_threads", Type: Int},
	{Name: "num_inter_threads", Type: Int},
	{Name: "sync_on_finish", Type: Bool},
	{Name: "staged_vars", Type: Bool},
	{Name: "summary_verbosity", Type: Int},
	{Name: "gpu_memory_frac_for_testing", Type: Float},
	{Name: "allow_growth", Type: Bool},
	{Name: "tf_random_seed", Type: Int},
	{Name: "datasets_num_private_threads", Type: Int},
	{Name: "use_datasets", Type: Bool},
	{Name: "batch_group_size", Type: Int, Min: 1},
	{Name: "gradient_repacking", Type: Int},
	{Name: "force_gpu_compatible", Type: Bool},
	{Name: "kmp_blocktime", Type: Int},
	{Name: "mkl", Type: Bool},
	{Name: "enable_layout_optimizer", Type: Bool},
	{Name: "gpu_thread_mode"},
	{Name: "per_gpu_thread_count", Type: Int},
	{Name: "hierarchical_copy", Type: Bool},
	{Name: "network_topology"},
	{Name: "single_l2_loss_op", Type: Bool},
	{Name: "fuse_decode_and_crop", Type: Bool},
	{Name: "resize_method"},
}

// standIn holds the flags of cnnbench that have an effect there.
var standIn = []Flag{
	{Name: "model", Values: []string{"alexnet", "inception3", "lenet", "resnet50", "trivial"}},
	{Name: "batch_size", Type: Int},
	{Name: "num_gpus", Type: Int, Min: 1},
	{Name: "num_batches", Type: Int, Min: 1},
	{Name: "num_epochs", Type: Float},
	{Name: "num_warmup_batches", Type: Int},
	{Name: "display_every", Type: Int, Min: 1},
	{Name: "data_dir"},
	{Name: "data_name", Values: []string{"imagenet"}},
	{Name: "data_format", Values: []string{"NHWC"}},
	{Name: "device", Values: []string{"cpu"}},
	{Name: "local_parameter_device", Values: []string{"cpu", "gpu"}},
	{Name: "variable_update", Values: []string{"distributed_replicated", "independent", "parameter_server", "replicated"}},
	{Name: "optimizer", Values: []string{"momentum", "rmsprop", "sgd"}},
	{Name: "learning_rate", Type: Float},
	{Name: "momentum", Type: Float},
	{Name: "forward_only", Type: Bool},
	{Name: "print_training_accuracy", Type: Bool},
	{Name: "loss_type_to_report", Values: []string{"base_loss", "total_loss"}},
	{Name: "num_intra_threads", Type: Int},
	{Name: "num_inter_threads", Type: Int},
	{Name: "tf_random_seed", Type: Int},
	{Name: "sync_on_finish", Type: Bool},
	{Name: "cross_replica_sync", Type: Bool},
	{Name: "distortions", Type: Bool},
	{Name: "use_fp16", Type: Bool},
	{Name: "xla", Type: Bool},
	{Name: "staged_vars", Type: Bool},
	{Name: "eval", Type: Bool},
	{Name: "server_protocol", Values: []string{"grpc"}},
	{Name: "summary_verbosity", Type: Int},
	{Name: "gpu_memory_frac_for_testing", Type: Float},
	{Name: "job_name", Values: []string{"ps", "worker"}},
	{Name: "ps_hosts"},
	{Name: "worker_hosts"},
	{Name: "controller_host"},
	{Name: "task_index", Type: Int},
	{Name: "all_reduce_spec"},
	{Name: "train_dir"},
	{Name: "trace_file"},
	{Name: "benchmark_log_dir"},
	{Name: "benchmark_test_id"},
}
