package sandbox_test

import (
	"testing"

	batchv1 "k8s.io/api/batch/v1"

	"dlx.dev/dlx/backends/sandbox"
)

func isOver(j *batchv1.Job) bool { return verdict(j) != "" }

func TestJobs(t *testing.T) {
	inBothWorlds(t, 2, sandbox.Config{}, func(w *world) {
		w.createJob(job("good", 3, "echo $JOB_COMPLETION_INDEX $(hostname)"))
		w.createJob(job("bad", 2, "exit $JOB_COMPLETION_INDEX"))
		j := until(w, w.batch, "jobs", "good", isOver)
		if verdict(j) != "Complete CompletionsReached" || j.Status.Succeeded != 3 || j.Status.CompletedIndexes != "0-2" || j.Status.CompletionTime == nil {
			w.t.Errorf("got %+v", j.Status)
		}
		j = until(w, w.batch, "jobs", "bad", isOver)
		if verdict(j) != "Failed BackoffLimitExceeded" || j.Status.Failed != 1 {
			w.t.Errorf("got %+v", j.Status)
		}
	})
}
