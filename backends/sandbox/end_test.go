package sandbox_test

import (
	"os"
	"testing"

	"dlx.dev/dlx/backends/sandbox"
)

// End ends servers, nodes and pods with what runs on them, and leaves the folder empty, even if
// all of it was made before the program died.
func TestEndLeavesNothing(t *testing.T) {
	w := loopback(t, 1, sandbox.Config{Keep: true})
	clouds := string(w.s.CloudsYAML())
	w.createPod(sh("long", "sleep 1000 & wait"))
	w.running("long")
	w.s.Close()
	w.open()
	if again := string(w.s.CloudsYAML()); again != clouds {
		t.Errorf("started again: got\n%s\nwant\n%s", again, clouds)
	}
	w.running("long")
	if len(w.s.Processes()) == 0 {
		t.Error("the pod has no process")
	}
	if err := w.s.End(t.Context()); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(w.cfg.State); len(left) != 0 || err != nil {
		t.Errorf("left: %v, %v", left, err)
	}
	if left := w.s.Processes(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
