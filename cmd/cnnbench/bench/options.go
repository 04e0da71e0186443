package bench

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"dlx.dev/dlx/cmd/cnnbench/nn"
)

// options are the flags, by upstream's names. The zero value is not of use; parse fills it.
type options struct {
	model                nn.Model
	modelName            string
	batchSize            int // pictures a device and step; the model's own once parsed
	devices              int // --num_gpus
	numBatches           int // 0 = not given
	numEpochs            float64
	warmup               int // steps
	displayEvery         int // steps
	dataDir              string
	dataName             string
	dataFormat           string
	device               string
	parameterDevice      string
	variableUpdate       string
	optimizer            string
	learningRate         float64 // the model's own once parsed
	momentum             float64
	forwardOnly          bool
	accuracy             bool
	lossType             string
	intraThreads         int
	interThreads         int
	seed                 int
	makeDir              string
	makeImages           int
	given                map[string]bool // flags that the command line names
	jobName, psHosts     string
	workerHosts          string
	taskIndex            int
	crossReplicaSync     bool
	serverProtocol       string
	allReduceSpec        string
	controllerHost       string
	trainDir, traceFile  string
	distortions          bool
	useFP16, xla         bool
	stagedVars           bool
	syncOnFinish         bool
	summaryVerbosity     int
	eval                 bool
	gpuMemoryFraction    float64
	benchLogDir, benchID string
}

const (
	updateServer      = "parameter_server"
	updateReplicated  = "replicated"
	updateIndependent = "independent"
	updateDistributed = "distributed_replicated"
)

// defaultBatches is upstream's number of timed steps where neither --num_batches nor --num_epochs is given.
const defaultBatches = 100

// register declares the flags. Complaints about values go to the list that the numbers and booleans share.
func (o *options) register(fs *flag.FlagSet, bad *[]string) {
	str := func(p *string, name, value, usage string) { fs.StringVar(p, name, value, usage) }
	whole := func(p *int, name string, value, least int, usage string) {
		*p = value
		fs.Var(&number[int]{p: p, name: name, least: least, parse: parseInt, kind: "a whole number", bad: bad}, name, usage)
	}
	real := func(p *float64, name string, value float64, usage string) {
		*p = value
		fs.Var(&number[float64]{p: p, name: name, parse: parseFloat, kind: "a number", bad: bad}, name, usage)
	}
	boolean := func(p *bool, name string, value bool, usage string) {
		*p = value
		fs.Var(&boolValue{p: p, name: name, bad: bad}, name, usage)
	}
	str(&o.modelName, "model", "trivial", "`name` of the net: "+nn.Names())
	whole(&o.batchSize, "batch_size", 0, 0, "pictures a device and step; 0 = the model's own")
	whole(&o.devices, "num_gpus", 1, 1, "devices (towers) of this process")
	whole(&o.numBatches, "num_batches", 0, 1, "timed steps; 100 where --num_epochs is not given either")
	real(&o.numEpochs, "num_epochs", 0, "timed epochs, in place of --num_batches")
	whole(&o.warmup, "num_warmup_batches", 10, 0, "steps before the timed ones")
	whole(&o.displayEvery, "display_every", 10, 1, "steps between two lines")
	str(&o.dataDir, "data_dir", "", "`directory` of an image set; empty = synthetic data")
	str(&o.dataName, "data_name", "", "`name` of the image set: imagenet; needed with --data_dir")
	str(&o.dataFormat, "data_format", "NHWC", "`order` of pictures: NHWC")
	str(&o.device, "device", "cpu", "`kind` of device: cpu")
	str(&o.parameterDevice, "local_parameter_device", "cpu", "`where` variables are kept: cpu = one shared copy, gpu = a copy on each device")
	str(&o.variableUpdate, "variable_update", updateServer, "`how` devices bring variables together: parameter_server, replicated, independent, distributed_replicated")
	str(&o.optimizer, "optimizer", "sgd", "`name`: sgd, momentum, rmsprop")
	real(&o.learningRate, "learning_rate", 0, "learning rate; 0 = the model's own")
	real(&o.momentum, "momentum", 0.9, "momentum of momentum and rmsprop")
	boolean(&o.forwardOnly, "forward_only", false, "leave out the backward pass and the update")
	boolean(&o.accuracy, "print_training_accuracy", false, "add the top 1 and top 5 accuracy to each line")
	str(&o.lossType, "loss_type_to_report", "total_loss", "`which` loss to print: total_loss, base_loss")
	whole(&o.intraThreads, "num_intra_threads", 0, 0, "threads to compute on; 0 = as many as this process has CPUs")
	whole(&o.interThreads, "num_inter_threads", 0, 0, "devices that compute at the same time; 0 = all")
	whole(&o.seed, "tf_random_seed", 1234, 0, "seed of parameters and of made data")
	boolean(&o.syncOnFinish, "sync_on_finish", false, "accepted: devices are always in step")

	str(&o.jobName, "job_name", "", "`part` of this process in a run of several: ps, worker; empty = one process")
	str(&o.psHosts, "ps_hosts", "", "`list` of host:port of the parameter servers, separated by commas")
	str(&o.workerHosts, "worker_hosts", "", "`list` of host:port of the workers; only their number is used")
	whole(&o.taskIndex, "task_index", 0, 0, "index of this process in the list of its job")
	boolean(&o.crossReplicaSync, "cross_replica_sync", true, "accepted if true")
	str(&o.serverProtocol, "server_protocol", "grpc", "accepted if grpc; the protocol is cnnbench's own")
	str(&o.allReduceSpec, "all_reduce_spec", "", "not supported")
	str(&o.controllerHost, "controller_host", "", "not supported")
	str(&o.trainDir, "train_dir", "", "not supported: nothing is saved")
	str(&o.traceFile, "trace_file", "", "`file` to write a trace of the last but one warm-up step to, as Chrome's about:tracing reads it")
	str(&o.benchLogDir, "benchmark_log_dir", "", "not supported")
	str(&o.benchID, "benchmark_test_id", "", "not supported")
	boolean(&o.distortions, "distortions", false, "accepted if false")
	boolean(&o.useFP16, "use_fp16", false, "accepted if false")
	boolean(&o.xla, "xla", false, "accepted if false")
	boolean(&o.stagedVars, "staged_vars", false, "accepted if false")
	boolean(&o.eval, "eval", false, "accepted if false")
	whole(&o.summaryVerbosity, "summary_verbosity", 0, 0, "accepted if 0")
	real(&o.gpuMemoryFraction, "gpu_memory_frac_for_testing", 0, "accepted if 0")

	str(&o.makeDir, "make_data", "", "cnnbench only: write an image set to this `directory` and stop")
	whole(&o.makeImages, "make_images", 4096, 1, "cnnbench only: pictures that --make_data writes")
}

// parse reads arguments. The complaints are all the mistakes that it found, one a line, in the order of the command line
// and then of the rules.
func parse(args []string) (o *options, complaints []string, help bool) {
	o = &options{given: map[string]bool{}}
	fs := flag.NewFlagSet("cnnbench", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	var bad []string
	o.register(fs, &bad)
	clean, complaints, help := normalize(fs, args)
	if help {
		return o, nil, true
	}
	if err := fs.Parse(clean); err != nil { // normalize leaves nothing for it to say
		complaints = append(complaints, err.Error())
	}
	fs.Visit(func(f *flag.Flag) { o.given[f.Name] = true })
	complaints = append(complaints, bad...)
	return o, append(complaints, o.check()...), false
}

// usage prints the flags.
func usage(w io.Writer) {
	fs := flag.NewFlagSet("cnnbench", flag.ContinueOnError)
	fs.SetOutput(w)
	new(options).register(fs, new([]string))
	_, _ = fmt.Fprint(w, `cnnbench stands in for tf_cnn_benchmarks on a CPU: the same flags, the same lines, real training of small nets.

usage: cnnbench --model=resnet50 --num_batches=100 [--flag=value ...]

`) // a help text that cannot be printed has no other place to go
	fs.PrintDefaults()
}

// oneOf complains unless value is one of known.
func oneOf(name, value string, known ...string) string {
	if slices.Contains(known, value) {
		return ""
	}
	return fmt.Sprintf("--%s: unknown value %q (known: %s)", name, value, strings.Join(known, ", "))
}
