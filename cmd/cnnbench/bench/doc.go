// Package bench is the program cnnbench: it reads the flags of tf_cnn_benchmarks, trains a small net on the CPU and prints
// the lines that tf_cnn_benchmarks prints.
//
// A run goes through these stages:
//
//  1. parse turns arguments into [options] and collects every mistake in them.
//  2. banner prints what will run.
//  3. newTrainer makes the devices and how they exchange variables.
//  4. warm-up steps, then timed steps, each measured; see timing for the arithmetic.
//
// A device is a tower: a net of its own with a batch of its own in this process. --num_gpus says how many there are, by
// upstream's name, whatever they run on. After each backward pass the towers bring their variables together in one of
// these ways:
//
//	--variable_update=parameter_server --local_parameter_device=cpu   one shared copy of the variables; every tower copies
//	                                                                  it before a step; the mean gradient changes it
//	--variable_update=parameter_server --local_parameter_device=gpu   a copy on each tower, never copied; the first tower
//	                                                                  takes the mean gradient, each tower applies it
//	--variable_update=replicated                                      a copy on each tower; each tower takes the mean of
//	                                                                  its share of the gradient, all apply the whole
//	--variable_update=independent                                     a copy on each tower, no exchange
//
// With --job_name, variables are on parameter servers, see package cluster. Each worker sends the mean gradient of its
// towers, and fetches the variables in one of these ways:
//
//	--variable_update=parameter_server --local_parameter_device=cpu   once; every tower copies them before a step
//	--variable_update=parameter_server --local_parameter_device=gpu   every tower by itself before a step
//	--variable_update=distributed_replicated                          once; a copy on each tower
//
// As upstream, --local_parameter_device is without effect for replicated, independent and distributed_replicated.
package bench
