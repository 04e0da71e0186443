package flags

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Setting is a flag with its value as on a command line.
type Setting struct{ Name, Value string }

// A FlagProblem is a flag, or several together, that the program would refuse or not honour.
type FlagProblem struct {
	Flag    string   // where to look first
	With    []string // other flags that take part
	Missing string   // the flag whose absence is the problem; empty if none
	Msg     string   // lower case, no period; names the flags
}

// CheckFlags returns every problem of a complete set of flags, in the order of the flags and
// then of the rules. Kinds whose flags are not known have none. A flag that is set twice counts
// once, with its last value.
//
// "Complete" is for the rules on absent flags: leave out problems with Missing where more flags
// are still to come.
func CheckFlags(kind string, flags []Setting) []FlagProblem {
	if !Known(kind) {
		return nil
	}
	c := &checker{kind: kind, set: map[string]string{}}
	for _, s := range flags {
		c.set[s.Name] = s.Value
	}
	for _, name := range c.names(flags) {
		c.single(name)
	}
	if kind == TFCNN {
		c.upstreamRules()
	} else {
		c.standInRules()
	}
	c.updateRules()
	c.commonRules()
	return c.out
}

type checker struct {
	kind string
	set  map[string]string
	out  []FlagProblem
}

func (c *checker) names(flags []Setting) []string {
	var names []string
	for _, s := range flags {
		if !slices.Contains(names, s.Name) {
			names = append(names, s.Name)
		}
	}
	return names
}

func (c *checker) add(flag, missing string, with []string, format string, args ...any) {
	c.out = append(c.out, FlagProblem{Flag: flag, Missing: missing, With: with, Msg: fmt.Sprintf(format, args...)})
}

// has reports whether a flag is set to something other than the empty string.
func (c *checker) has(name string) bool { return c.set[name] != "" }

func (c *checker) single(name string) {
	f, ok := Lookup(c.kind, name)
	if !ok {
		if _, up := Lookup(TFCNN, name); up {
			c.add(name, "", nil, "%s has no flag %s; remove it", c.kind, name)
		} else {
			c.add(name, "", nil, "%s has no flag %s", c.kind, name)
		}
		return
	}
	if p := f.Problem(c.set[name]); p != "" {
		if c.kind == CNNBench {
			if up, ok := Lookup(TFCNN, name); ok && up.Problem(c.set[name]) == "" && f.Values != nil {
				p = fmt.Sprintf("cnnbench has no %s %s; use %s", name, c.set[name], strings.Join(f.Values, ", "))
			}
		}
		c.add(name, "", nil, "%s", p)
	}
}

func (c *checker) commonRules() {
	if c.has("num_batches") && c.has("num_epochs") {
		c.add("num_epochs", "", []string{"num_batches"}, "num_epochs and num_batches exclude each other; remove one of them")
	}
	switch {
	case c.has("data_dir") && !c.has("data_name"):
		c.add("data_dir", "data_name", nil, "data_dir needs data_name as well, such as imagenet; synthetic data takes neither")
	case c.has("data_name") && !c.has("data_dir"):
		c.add("data_name", "data_dir", nil, "data_name needs data_dir as well; synthetic data takes neither")
	}
	if c.set["forward_only"] == "true" && c.set["print_training_accuracy"] == "true" {
		c.add("print_training_accuracy", "", []string{"forward_only"}, "there is no training accuracy with forward_only; remove one of them")
	}
}

// updateRules are those between the ways of bringing variables together and the roles.
func (c *checker) updateRules() {
	update := c.set["variable_update"]
	switch update {
	case "replicated", "independent", "horovod":
		if c.has("job_name") {
			c.add("variable_update", "", []string{"job_name"}, "%s cannot have job_name, that is, roles of parameter servers and workers; use distributed_replicated or parameter_server", update)
		}
	case "distributed_replicated":
		if !c.has("job_name") {
			c.add("variable_update", "job_name", nil, "distributed_replicated needs job_name in each role: ps or worker")
		}
		if c.kind == TFCNN && c.set["cross_replica_sync"] == "false" {
			c.add("cross_replica_sync", "", []string{"variable_update"}, "distributed_replicated needs cross_replica_sync true; remove one of them")
		}
	}
}

func (c *checker) upstreamRules() {
	update := c.set["variable_update"]
	with := []string{"variable_update"}
	switch update {
	case "distributed_all_reduce":
		if !c.has("controller_host") {
			c.add("variable_update", "controller_host", nil, "distributed_all_reduce needs controller_host, that is, a role controller")
		}
		if c.has("ps_hosts") {
			c.add("variable_update", "", []string{"ps_hosts"}, "distributed_all_reduce has no parameter servers; remove the role ps")
		}
	}
	if update != "distributed_all_reduce" && c.has("controller_host") {
		c.add("controller_host", "", with, "controller_host is of use with variable_update distributed_all_reduce only; remove it")
	}
	if n, ok := c.set["num_gpus"]; update == "horovod" && ok && n != "1" {
		c.add("num_gpus", "", with, "horovod needs num_gpus 1, and found %s: it runs one process for each GPU", n)
	}
	if c.set["staged_vars"] == "true" && update != "" && update != "parameter_server" {
		c.add("staged_vars", "", with, "staged_vars works with variable_update parameter_server only; remove one of them")
	}
	if c.set["device"] == "cpu" && c.set["mkl"] != "true" {
		switch format, ok := c.set["data_format"]; {
		case !ok:
			c.add("device", "data_format", nil, "device cpu needs data_format NHWC, and the default is NCHW; add it")
		case format == "NCHW":
			c.add("data_format", "", []string{"device"}, "device cpu needs data_format NHWC, and found NCHW")
		}
	}
}

// standInRules refuse what upstream honours and cnnbench would not.
func (c *checker) standInRules() {
	for _, name := range []string{"controller_host", "all_reduce_spec"} {
		if c.has(name) {
			c.add(name, "", nil, "cnnbench has no all-reduce, and so no %s; remove it", name)
		}
	}
	if n, err := strconv.Atoi(c.set["num_warmup_batches"]); err == nil && n < 2 && c.has("trace_file") {
		c.add("trace_file", "", []string{"num_warmup_batches"}, "trace_file traces the last but one warm-up step, and num_warmup_batches is %d; use 2 or more", n)
	}
	for _, name := range []string{"train_dir", "benchmark_log_dir", "benchmark_test_id"} {
		if c.has(name) {
			c.add(name, "", nil, "cnnbench writes to its output only, and has no %s; remove it", name)
		}
	}
	for _, name := range []string{"use_fp16", "xla", "distortions", "staged_vars", "eval"} {
		if c.set[name] == "true" {
			c.add(name, "", nil, "cnnbench has no %s; write false or remove it", name)
		}
	}
	for _, name := range []string{"summary_verbosity", "gpu_memory_frac_for_testing"} {
		if v := c.set[name]; v != "" && v != "0" {
			c.add(name, "", nil, "cnnbench has no %s other than 0, and found %s; remove it", name, v)
		}
	}
	if c.set["cross_replica_sync"] == "false" {
		c.add("cross_replica_sync", "", nil, "devices and workers of cnnbench are always in step; remove cross_replica_sync")
	}
	if c.set["forward_only"] == "true" && c.has("job_name") {
		c.add("forward_only", "", []string{"job_name"}, "workers that only run forward have nothing to exchange; remove forward_only or job_name")
	}
}
