package bench

import (
	"fmt"
	"strings"
)

// banner returns the lines that upstream prints before it starts, in its order. Upstream prints its own version of
// TensorFlow in the first; ours says that there is none.
func (o *options) banner(steps, epochLen int) []string {
	batch := o.batchSize * o.devices * o.workers()
	dataset := o.dataName
	if o.dataDir == "" {
		dataset = "imagenet (synthetic)"
	}
	mode := "training"
	if o.forwardOnly {
		mode = "forward-only"
	}
	var devices []string
	for i := range o.devices {
		place := ""
		if o.jobName == jobWorker {
			place = fmt.Sprintf("/job:worker/task:%d", o.taskIndex)
		}
		devices = append(devices, fmt.Sprintf("'%s/cpu:%d'", place, i))
	}
	lines := []string{
		"TensorFlow:  none (cnnbench " + Version + ")",
		"Model:       " + o.model.Name,
		"Dataset:     " + dataset,
		"Mode:        " + mode,
		"SingleSess:  False",
		fmt.Sprintf("Batch size:  %d global", batch),
		fmt.Sprintf("             %.1f per device", float64(o.batchSize)),
		fmt.Sprintf("Num batches: %d", steps),
		fmt.Sprintf("Num epochs:  %.2f", float64(steps)*float64(batch)/float64(epochLen)),
		"Devices:     [" + strings.Join(devices, ", ") + "]",
		"NUMA bind:   False",
		"Data format: " + o.dataFormat,
		"Optimizer:   " + o.optimizer,
		"Variables:   " + o.variableUpdate,
	}
	if o.variableUpdate == updateReplicated {
		lines = append(lines, "AllReduce:   None")
	}
	if o.jobName == jobWorker {
		lines = append(lines, "Sync:        True")
	}
	return append(lines, "==========")
}

// header is the line above the step lines.
func (o *options) header() string {
	h := "Step\tImg/sec\t" + o.lossType
	if o.accuracy {
		h += "\ttop_1_accuracy\ttop_5_accuracy"
	}
	return h
}
