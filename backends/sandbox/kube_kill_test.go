package sandbox_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"dlx.dev/dlx/backends/sandbox"
)

// victim, set to a state folder, makes this test program one that is killed in the middle.
const victim = "DLX_TEST_SANDBOX_VICTIM"

// After kill -9 of the whole program, the next one finds pods running, knows how those ended that
// did so meanwhile, and a watch goes on from where it was.
func TestClustersSurviveKill(t *testing.T) {
	if state := os.Getenv(victim); state != "" {
		w := loopback(t, 1, sandbox.Config{State: state})
		w.createPod(sh("long", "sleep 1000"))
		w.createJob(job("j", 2, "sleep 0.5; echo done $JOB_COMPLETION_INDEX; [ $JOB_COMPLETION_INDEX = 0 ] || exit 7", func(j *batchv1.Job) {
			j.Spec.BackoffLimit, j.Spec.BackoffLimitPerIndex = nil, ptr.To[int32](0)
		}))
		p := w.running("long")
		until(w, w.batch, "jobs", "j", func(j *batchv1.Job) bool { return ptr.Deref(j.Status.Ready, 0) == 2 })
		fmt.Println("victim", p.UID, p.ResourceVersion) //nolint:forbidigo // to the test that started us
		select {}
	}
	state := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestClustersSurviveKill$")
	cmd.Env = append(os.Environ(), victim+"="+state)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var uid, version string
	for s := bufio.NewScanner(out); s.Scan(); {
		if n, _ := fmt.Sscanf(s.Text(), "victim %s %s", &uid, &version); n == 2 {
			break
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	w := loopback(t, 1, sandbox.Config{State: state})
	if p := w.running("long"); string(p.UID) != uid {
		t.Errorf("got pod %s; want %s", p.UID, uid)
	}
	j := until(w, w.batch, "jobs", "j", isOver)
	if verdict(j) != "Failed FailedIndexes" || j.Status.CompletedIndexes != "0" || ptr.Deref(j.Status.FailedIndexes, "") != "1" {
		t.Errorf("got %+v", j.Status)
	}
	for _, p := range w.pods() {
		if p.Labels[batchv1.JobCompletionIndexAnnotation] == "1" && p.Status.ContainerStatuses[0].State.Terminated.ExitCode != 7 {
			t.Errorf("got %+v", p.Status.ContainerStatuses)
		}
	}
	if out, _, err := w.exec("long", nil, "echo", "still"); out != "still\n" || err != nil {
		t.Errorf("got %q, %v", out, err)
	}
	x, err := w.core.Get().Namespace("default").Resource("pods").Param("watch", "true").Param("resourceVersion", version).Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if e := <-x.ResultChan(); e.Type != "MODIFIED" {
		t.Errorf("got %+v", e)
	}
	x.Stop()
	w.remove()
	w.close()
	if left, err := os.ReadDir(state); len(left) != 0 || err != nil {
		t.Errorf("left: %v, %v", left, err)
	}
}

func (w *world) pods() []corev1.Pod {
	w.t.Helper()
	l := &corev1.PodList{}
	if err := w.core.Get().Namespace("default").Resource("pods").Do(w.t.Context()).Into(l); err != nil {
		w.t.Fatal(err)
	}
	return l.Items
}
