package bench

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

func TestTraceFileHasOneWarmUpStep(t *testing.T) {
	file := filepath.Join(t.TempDir(), "trace.json")
	var out, errs bytes.Buffer
	args := []string{"--model=trivial", "--batch_size=4", "--num_gpus=2", "--num_warmup_batches=3", "--num_batches=2", "--trace_file=" + file}
	if code := Main(t.Context(), args, &out, &errs); code != 0 {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var tr trace
	if err := json.Unmarshal(b, &tr); err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, e := range tr.Events {
		count[e.Name]++
		if e.Phase != "X" || e.Start < 0 || e.Duration < 0 {
			t.Errorf("odd event %+v", e)
		}
	}
	for _, name := range []string{"load", "fetch", "compute", "reduce", "apply"} {
		if count[name] != 2 { // one a device
			t.Errorf("%s: %d events; want 2", name, count[name])
		}
	}
}
