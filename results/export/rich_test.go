package export

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
	"dlx.dev/dlx/results"
)

// richRun is three models on four orchestrations, seven repeats, figures with and
// without a baseline, and everything that can go wrong: a cell that failed, trials that failed,
// were not run, or gave no number, an excluded cell, and machines that were made twice.
func richRun(t testing.TB, caveat plan.Caveat) *results.Run {
	t.Helper()
	models := []string{"inceptionv3", "resnet50", "alexnet"}
	places := []string{"bm", "container-on-bm", "vm", "container-on-vm"}
	const repeats = 7
	p := &plan.Plan{
		Format: plan.Format, Study: "closer", Title: "Deep learning on metal, containers & VMs", Testbed: "lab", Caveat: caveat, Repeats: repeats,
		Axes:   []plan.Axis{{Name: "batch", Values: []string{"32", "512"}, Number: true}, {Name: "model", Values: models}, {Name: "orchestration", Values: places}},
		Blocks: []string{"single"}, Clouds: []plan.Cloud{{Name: "lab", Backend: "openstack"}},
		Workload: plan.Workload{Kind: "tf_cnn_benchmarks", Parser: "tf_cnn_benchmarks"},
		Metrics:  []plan.Metric{{Name: "elapsed", Unit: "s", Kind: "cost", Better: "lower"}, {Name: "throughput", Unit: "images/s", Kind: "rate", Better: "higher"}},
		Figures: []plan.Figure{
			{Name: "elapsed", Title: "Time to train", Metric: "elapsed", Rows: []string{"model"}, Columns: "orchestration", As: plan.Absolute},
			{Name: "fig5", Title: "Single node, synthetic data", Metric: "throughput", Block: "single", Rows: []string{"model"}, Columns: "orchestration", As: plan.Ratio,
				Baseline: []plan.Setting{{Name: "orchestration", Value: "bm"}}},
			{Name: "fig9", Metric: "elapsed", Rows: []string{"model", "batch"}, Columns: "orchestration", As: plan.Degradation, XTitle: "network", YTitle: "increase",
				Baseline: []plan.Setting{{Name: "orchestration", Value: "bm"}}},
		},
		Labels:   []plan.Label{{Axis: "batch", Value: "512", Text: "batch 512"}, {Axis: "model", Value: "alexnet", Text: "AlexNet"}, {Axis: "orchestration", Value: "bm", Text: "Bare metal"}},
		RefsFrom: "Lin, Pai and Chou, CLOSER 2018",
		Refs: []plan.Reference{
			{Cell: "single/batch=32,model=inceptionv3,orchestration=bm", Metric: "elapsed", Value: 72},
			{Cell: "single/batch=32,model=inceptionv3,orchestration=vm", Metric: "elapsed", Value: 79, Note: "read off a chart"},
			{Cell: "single/batch=32,model=resnet50,orchestration=vm", Metric: "elapsed", Value: 58},
		},
		Excluded: []plan.Excluded{{Cell: "single/batch=512,model=alexnet,orchestration=container-on-vm", Reason: "the figure does not show it"}},
		Warnings: []string{"a comparison of orchestrations is confounded with the host"},
	}
	for _, o := range places {
		p.Fleets = append(p.Fleets, plan.Fleet{Name: o + "-1", Cloud: "lab", Orchestration: o, Machines: []plan.Machine{{Name: o + "-1-m0", Spec: []byte(`{"flavor":"g1"}`)}}})
	}
	base := map[string]float64{"inceptionv3": 119.9, "resnet50": 211.3, "alexnet": 2890}
	factor := map[string]float64{"bm": 1, "container-on-bm": 0.985, "vm": 0.91, "container-on-vm": 0.875}
	started := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	r := &results.Run{ID: "r-20260301-7f3a", Plan: p, Version: "0.1.0", Started: started, Ended: started.Add(41 * time.Hour),
		Left: []string{"server dlx-r-20260301-vm-1-m0"}}
	for fi, o := range places {
		for _, m := range models {
			batch := "32"
			if m == "alexnet" {
				batch = "512"
			}
			if m == "alexnet" && o == "container-on-vm" {
				continue // excluded
			}
			name := "single/batch=" + batch + ",model=" + m + ",orchestration=" + o
			p.Cells = append(p.Cells, plan.Cell{Name: name, Key: fmt.Sprintf("%032x", len(p.Cells)), Block: "single", Fleet: fi,
				Axes: []plan.Setting{{Name: "batch", Value: batch}, {Name: "model", Value: m}, {Name: "orchestration", Value: o}},
				Roles: []plan.Role{{Name: "worker", Args: []plan.Arg{{Text: "tf"}, {Text: "--model=" + m}, {Text: "--ps_hosts=", Late: &plan.Late{Role: "worker", Port: 50000}}},
					Env: []plan.Setting{{Name: "PYTHONUNBUFFERED", Value: "1"}}, Machines: []int{0}, Finish: plan.Exits}}})
			for n := 1; n <= repeats; n++ {
				r.Trials = append(r.Trials, richTrial(p, len(p.Cells)-1, n, base[m]*factor[o], fi))
			}
		}
	}
	fail := func(i, n int, state journal.State, class, err string) {
		tr := r.Trial(i, n)
		*tr = results.Trial{Cell: tr.Cell, Repeat: tr.Repeat, State: state, Class: class, Error: err, Attempts: 2}
	}
	fail(1, 3, journal.Failed, "infra", `server "bm-1-m0": went to ERROR: =HYPERLINK("http://evil","x")`)
	fail(4, 2, "", "", "")
	for n := 3; n <= repeats; n++ { // two values only: no interval
		fail(7, n, journal.Canceled, "canceled", "")
	}
	for n := 1; n <= repeats; n++ {
		fail(10, n, journal.Failed, "invalid", "batch size 32 per device was declared, 16 was in effect")
	}
	var err error
	if r.Digest, err = p.Digest(); err != nil {
		t.Fatal(err)
	}
	return r
}

func richTrial(p *plan.Plan, cell, n int, center float64, fleet int) results.Trial {
	v := center * (1 + 0.004*float64((n*5)%7-3))
	id := plan.TrialID(p.Cells[cell].Name, n)
	log := "logs/" + id + "/worker-0/stdout"
	m := p.Fleets[fleet].Machines[0].Name
	return results.Trial{
		Cell: cell, Repeat: n, State: journal.Done, Attempts: 1 + n/7,
		Procs: []journal.Proc{{Role: "worker", Machine: m, Exit: backends.Exit{Elapsed: time.Minute},
			Files: []journal.FileSum{{Name: log, Size: 812, SHA256: strings.Repeat("ab", 32)}}}},
		Machines: []journal.MachineFact{{Name: m, Host: fmt.Sprintf("host-%d", n/5), Facts: map[string]string{"cpu": "AMD EPYC 7302", "virt": "kvm"}}},
		Spans:    []journal.Span{{Name: "launch", Took: 300 * time.Millisecond}, {Name: "run", Start: 300 * time.Millisecond, Took: time.Minute}},
		Obs: []journal.Observation{
			{Metric: "throughput", Value: v, Unit: "images/s", Role: "worker", File: log, Line: 27, Text: fmt.Sprintf("total images/sec: %.2f", v), How: "total of the only worker"},
			{Metric: "elapsed", Value: 51200 / v, Unit: "s", Role: "worker", How: "clock of the machine, around the process"},
		},
	}
}
