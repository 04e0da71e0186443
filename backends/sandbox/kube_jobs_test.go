package sandbox_test

import (
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

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

func TestJobsOfAllKinds(t *testing.T) {
	inVirtualTime(t, 2, sandbox.Config{}, func(w *world) {
		ends := func(want string, j *batchv1.Job) *batchv1.Job {
			w.t.Helper()
			w.createJob(j)
			j = until(w, w.batch, "jobs", j.Name, isOver)
			if verdict(j) != want {
				w.t.Errorf("%s: got %q of %+v; want %q", j.Name, verdict(j), j.Status, want)
			}
			return j
		}
		began := time.Now()
		j := ends("Failed BackoffLimitExceeded", job("again", 1, "exit 3", func(j *batchv1.Job) { j.Spec.BackoffLimit = ptr.To[int32](1) }))
		if d := time.Since(began); j.Status.Failed != 2 || d < 10*time.Second {
			w.t.Errorf("got %d failures in %v; want 2 in more than 10s", j.Status.Failed, d)
		}
		ends("Failed DeadlineExceeded", job("late", 1, "sleep 1000", func(j *batchv1.Job) { j.Spec.ActiveDeadlineSeconds = ptr.To[int64](2) }))
		j = ends("Failed PodFailurePolicy", job("policy", 2, "[ $JOB_COMPLETION_INDEX = 1 ] || exit 42; sleep 1000", func(j *batchv1.Job) {
			j.Spec.BackoffLimit = ptr.To[int32](6)
			j.Spec.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{Action: batchv1.PodFailurePolicyActionFailJob,
				OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{42}}}}}
		}))
		if text := j.Status.Conditions[0].Message; !strings.Contains(text, "failed with exit code 42 matching FailJob rule at index 0") || j.Status.Conditions[0].Type != batchv1.JobFailureTarget {
			w.t.Errorf("got %+v", j.Status.Conditions)
		}
		ends("Complete SuccessPolicy", job("success", 2, "[ $JOB_COMPLETION_INDEX = 0 ] || sleep 1000", func(j *batchv1.Job) {
			j.Spec.SuccessPolicy = &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededIndexes: ptr.To("0")}}}
		}))
		w.createJob(job("waits", 1, "true", func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(true) }))
		until(w, w.batch, "jobs", "waits", func(j *batchv1.Job) bool { return len(j.Status.Conditions) == 1 })
		if err := w.batch.Patch(types.MergePatchType).Namespace("default").Resource("jobs").Name("waits").Body([]byte(`{"spec":{"suspend":false}}`)).Do(w.t.Context()).Error(); err != nil {
			w.t.Fatal(err)
		}
		until(w, w.batch, "jobs", "waits", isOver)
		ends("Complete CompletionsReached", job("short", 1, "true", func(j *batchv1.Job) { j.Spec.TTLSecondsAfterFinished = ptr.To[int32](5) }))
		w.gone(w.getter("jobs", "short"))
	})
}
