package parse

import (
	"testing"

	"dlx.dev/dlx/compiler/plan"
)

func TestSteady(t *testing.T) {
	const step = "\timages/sec: 900.0 +/- 0.0 (jitter = 0.0)\t7.1"
	rate := []plan.Pattern{{Metric: "rate", Line: `^rate (?P<v>\d+)$`}}
	for _, c := range []struct {
		name, output string
		w            plan.Workload
		want         bool
	}{
		{"nothing", "", plan.Workload{Parser: "tf_cnn_benchmarks"}, false},
		{"warm-up", "Running warm up\nDone warm up\n1" + step + "\n", plan.Workload{Parser: "tf_cnn_benchmarks"}, false},
		{"half a line", "1" + step + "\n10" + step, plan.Workload{Parser: "tf_cnn_benchmarks"}, false},
		{"two steps", "1" + step + "\n10" + step + "\n", plan.Workload{Parser: "tf_cnn_benchmarks"}, true},
		{"command", "starting\nrate 1", plan.Workload{Parser: "pattern", Patterns: rate}, false},
		{"command with a rate", "starting\nrate 1\n", plan.Workload{Parser: "pattern", Patterns: rate}, true},
		{"command without patterns", "st", plan.Workload{Parser: "pattern"}, false},
		{"command without patterns, a line", "starting\n", plan.Workload{Parser: "pattern"}, true},
		{"unknown", "x\n", plan.Workload{Parser: "none"}, false},
	} {
		if got := Steady(&c.w, []byte(c.output)); got != c.want {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
}
