package sandbox_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/utils/ptr"

	"dlx.dev/dlx/backends/sandbox"
)

// inBothWorlds runs a test over loopback and in virtual time.
func inBothWorlds(t *testing.T, nodes int, cfg sandbox.Config, f func(w *world)) {
	t.Run("loopback", func(t *testing.T) {
		w := loopback(t, nodes, cfg)
		f(w)
		w.remove()
	})
	t.Run("virtual", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := virtual(t, nodes, cfg)
			f(w)
			w.remove()
			w.close()
		})
	})
}

func TestPodsAreContainers(t *testing.T) {
	inBothWorlds(t, 1, sandbox.Config{}, func(w *world) {
		w.createPod(sh("a", "echo hello >&2; hostname; readlink /proc/self; ls -d /proc/[0-9]* | wc -l; cat /.dockerenv /run/.containerenv; exit 3"))
		p := until(w, w.core, "pods", "a", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
		if x := p.Status.ContainerStatuses[0].State.Terminated; x == nil || x.ExitCode != 3 || x.Reason != "Error" {
			w.t.Errorf("got %+v", p.Status.ContainerStatuses)
		}
		got := lines(w.log("a"))
		if len(got) != 5 || got[0] != "hello" || got[1] != "a" || len(got[2]) > 2 || len(got[3]) > 1 || got[4] != `engine="dlx-sandbox"` {
			w.t.Errorf("got %q", got)
		}
		if !strings.HasPrefix(p.Status.PodIP, "127.") || p.Status.HostIP == "" || p.Spec.NodeName == "" {
			w.t.Errorf("got %+v", p.Status)
		}
	})
}

func TestExec(t *testing.T) {
	// client-go's executor knows no other way to dial than sockets.
	for _, plain := range []bool{false, true} {
		w := loopback(t, 1, sandbox.Config{Kube: sandbox.KubeConfig{Plain: plain}})
		w.createPod(sh("a", "export SECRET=1; while :; do sleep 0.1; done", func(s *corev1.PodSpec) {
			s.Containers[0].Env = []corev1.EnvVar{{Name: "GREETING", Value: "hi"}}
			s.Containers[0].WorkingDir = "/tmp"
		}))
		w.running("a")
		out, bad, err := w.exec("a", []byte("typed\n"), "sh", "-c", `cat; echo "$GREETING $1"; hostname; pwd; echo bad >&2; exit 5`, "sh", "it's")
		if plain {
			out = strings.Replace(out, "\n"+must[string](t)(os.Hostname())+"\n", "\na\n", 1)
		}
		if out != "typed\nhi it's\na\n/tmp\n" || bad != "bad\n" || err == nil || !strings.Contains(err.Error(), "exit code 5") {
			w.t.Errorf("got %q, %q, %v", out, bad, err)
		}
		if _, _, err := w.exec("a", nil, "true"); err != nil {
			w.t.Error(err)
		}
		if _, _, err := w.exec("nosuch", nil, "true"); err == nil {
			w.t.Error("exec in a pod that is not there")
		}
		w.remove()
	}
}

func TestExecCarriesMuch(t *testing.T) {
	w := loopback(t, 1, sandbox.Config{})
	w.createPod(sh("a", "sleep 1000"))
	w.running("a")
	blob := bytes.Repeat([]byte("0123456789abcdef"), 4<<20) // 64 MiB
	want := fmt.Sprintf("%x", sha256.Sum256(blob))
	out, bad, err := w.exec("a", blob, "sha256sum")
	if !strings.HasPrefix(out, want) || err != nil {
		t.Errorf("in: got %q %q %v; want %s", out, bad, err, want)
	}
	out, _, err = w.exec("a", nil, "sh", "-c", "yes 0123456789abcde | head -c 67108864")
	if len(out) != 64<<20 || err != nil {
		t.Errorf("out: got %d bytes, %v", len(out), err)
	}
	w.remove()
}

func TestVolumes(t *testing.T) {
	for _, plain := range []bool{false, true} {
		t.Run(fmt.Sprint("plain=", plain), func(t *testing.T) {
			w := loopback(t, 1, sandbox.Config{Kube: sandbox.KubeConfig{Plain: plain}})
			m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "m"}, Data: map[string]string{"key": "value"}}
			if err := w.core.Post().Namespace("default").Resource("configmaps").Body(m).Do(t.Context()).Error(); err != nil {
				t.Fatal(err)
			}
			volumes := func(s *corev1.PodSpec) {
				s.Volumes = []corev1.Volume{
					{Name: "scratch", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/var/tmp/dlx", Type: ptr.To(corev1.HostPathDirectoryOrCreate)}}},
					{Name: "empty", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
					{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "m"}, DefaultMode: ptr.To[int32](0o400)}}},
				}
				s.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "scratch", MountPath: "/dlx/scratch"}, {Name: "empty", MountPath: "/opt/no/such/place"},
					{Name: "config", MountPath: "/etc/dlx-config"}}
			}
			w.createPod(sh("a", "echo one >/dlx/scratch/file; echo x >/opt/no/such/place/y; cat /etc/dlx-config/key; ls /opt/no/such/place; stat -L -c %a /etc/dlx-config/key", volumes))
			until(w, w.core, "pods", "a", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
			if got := w.log("a"); got != "valuey\n400\n" {
				t.Errorf("got %q", got)
			}
			w.createPod(sh("b", "cat /dlx/scratch/file; sleep 1000", volumes))
			w.running("b")
			if out, _, err := w.exec("b", nil, "cat", "/dlx/scratch/file"); out != "one\n" || err != nil {
				t.Errorf("got %q, %v", out, err)
			}
			for _, dir := range []string{"/dlx", "/opt/no", "/etc/dlx-config"} {
				if _, err := os.Stat(dir); err == nil {
					t.Errorf("%s was made on the host", dir)
				}
			}
			w.remove()
			mounts, err := os.ReadFile("/proc/self/mountinfo")
			if strings.Contains(string(mounts), w.cfg.State) || err != nil {
				t.Errorf("mounts are left: %v", err)
			}
			w.close()
			if left, err := os.ReadDir(w.cfg.State); len(left) != 0 || err != nil {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

func TestPodsThatCannotStart(t *testing.T) {
	inBothWorlds(t, 1, sandbox.Config{}, func(w *world) {
		reason := func(name, want string, change func(*corev1.PodSpec)) {
			w.t.Helper()
			w.createPod(sh(name, "true", change))
			until(w, w.core, "pods", name, func(p *corev1.Pod) bool {
				if len(p.Status.ContainerStatuses) == 0 {
					return false
				}
				s := p.Status.ContainerStatuses[0].State
				return s.Waiting != nil && s.Waiting.Reason == want || s.Terminated != nil && s.Terminated.Reason == want
			})
		}
		reason("no-image", "ImagePullBackOff", func(s *corev1.PodSpec) { s.Containers[0].Image = "no-such-image:1" })
		reason("never", "ErrImageNeverPull", func(s *corev1.PodSpec) {
			s.Containers[0].Image, s.Containers[0].ImagePullPolicy = "no-such-image:1", corev1.PullNever
		})
		reason("no-program", "StartError", func(s *corev1.PodSpec) { s.Containers[0].Command = []string{"no-such-program"} })
	})
}

func TestPodsEndInTime(t *testing.T) {
	inBothWorlds(t, 1, sandbox.Config{}, func(w *world) {
		w.createPod(sh("kind", "trap 'echo asked; exit 0' TERM; echo up; while :; do sleep 0.05; done"))
		w.createPod(sh("deaf", "trap '' TERM; echo up; while :; do sleep 0.05; done"))
		for _, name := range []string{"kind", "deaf"} {
			w.running(name)
			if err := w.core.Delete().Namespace("default").Resource("pods").Name(name).Do(w.t.Context()).Error(); err != nil {
				w.t.Fatal(err)
			}
		}
		for w.count("pods") > 0 {
			time.Sleep(10 * time.Millisecond)
		}
	})
}

func (w *world) count(resource string) int {
	w.t.Helper()
	l := &corev1.PodList{}
	if err := w.core.Get().Namespace("default").Resource(resource).Do(w.t.Context()).Into(l); err != nil {
		w.t.Fatal(err)
	}
	return len(l.Items)
}

func TestNamesOfPeersComeLater(t *testing.T) {
	w := loopback(t, 2, sandbox.Config{})
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "group"}, Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, PublishNotReadyAddresses: true}}
	svc.Spec.Selector = map[string]string{"batch.kubernetes.io/job-name": "group"}
	if err := w.core.Post().Namespace("default").Resource("services").Body(svc).Do(t.Context()).Error(); err != nil {
		t.Fatal(err)
	}
	j := job("group", 2, `[ $JOB_COMPLETION_INDEX = 0 ] || sleep 0.5
getent hosts group-1.group >/dev/null && echo early
n=0; until getent hosts group-1.group.default.svc.cluster.local >/dev/null; do n=$((n+1)); [ $n -lt 200 ] || exit 1; sleep 0.05; done
getent hosts group-1.group | sed 's/ .*//'; hostname`)
	j.Spec.Template.Spec.Subdomain = "group"
	w.createJob(j)
	done := until(w, w.batch, "jobs", "group", isOver)
	if verdict(done) != "Complete CompletionsReached" || done.Status.CompletedIndexes != "0,1" {
		t.Errorf("got %+v", done.Status)
	}
	w.remove()
}

func TestLogsAreFollowed(t *testing.T) {
	inBothWorlds(t, 1, sandbox.Config{}, func(w *world) {
		w.createPod(sh("a", "for i in 1 2 3 4 5; do echo line $i; sleep 0.05; done"))
		w.running("a")
		get := func(o *corev1.PodLogOptions) string {
			w.t.Helper()
			r, err := w.core.Get().Namespace("default").Resource("pods").Name("a").SubResource("log").VersionedParams(o, w.params).Stream(w.t.Context())
			if err != nil {
				w.t.Fatal(err)
			}
			defer r.Close()
			b, err := io.ReadAll(r)
			if err != nil {
				w.t.Fatal(err)
			}
			return string(b)
		}
		const all = "line 1\nline 2\nline 3\nline 4\nline 5\n"
		if got := get(&corev1.PodLogOptions{Follow: true}); got != all {
			w.t.Errorf("followed: got %q", got)
		}
		if got := get(&corev1.PodLogOptions{TailLines: ptr.To[int64](2)}); got != "line 4\nline 5\n" {
			w.t.Errorf("tail: got %q", got)
		}
		if got := get(&corev1.PodLogOptions{LimitBytes: ptr.To[int64](10)}); got != all[:10] {
			w.t.Errorf("limit: got %q", got)
		}
		if got := get(&corev1.PodLogOptions{Timestamps: true, TailLines: ptr.To[int64](1)}); !strings.HasSuffix(got, "Z line 5\n") {
			w.t.Errorf("timestamps: got %q", got)
		}
	})
}

func TestGPUsAreTold(t *testing.T) {
	w := loopback(t, 1, sandbox.Config{})
	gpu := func(s *corev1.PodSpec) {
		s.Containers[0].Resources.Limits = corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("1")}
	}
	seen := map[string]bool{}
	for _, name := range []string{"a", "b"} {
		w.createPod(sh(name, "echo $CUDA_VISIBLE_DEVICES; sleep 1000", gpu))
		w.running(name)
		for w.log(name) == "" {
			time.Sleep(10 * time.Millisecond)
		}
		seen[w.log(name)] = true
	}
	if !seen["0\n"] || !seen["1\n"] {
		t.Errorf("got %v", seen)
	}
	w.createPod(sh("c", "true", gpu))
	p := until(w, w.core, "pods", "c", func(p *corev1.Pod) bool { return len(p.Status.Conditions) > 0 })
	const want = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
	if c := p.Status.Conditions[0]; c.Reason != "Unschedulable" || c.Message != want {
		t.Errorf("got %+v", c)
	}
	w.remove()
}

// What ran when the program ended runs on, and how it ended is known to the next.
func TestPodsOutliveTheProgram(t *testing.T) {
	w := loopback(t, 1, sandbox.Config{})
	w.createPod(sh("long", "sleep 1000"))
	w.createPod(sh("short", "sleep 0.3; exit 7"))
	before := w.running("long")
	w.running("short")
	w.restart()
	p := until(w, w.core, "pods", "short", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	if x := p.Status.ContainerStatuses[0].State.Terminated; x == nil || x.ExitCode != 7 {
		t.Errorf("got %+v", p.Status.ContainerStatuses)
	}
	after := w.running("long")
	if before.UID != after.UID || before.Status.ContainerStatuses[0].ContainerID != after.Status.ContainerStatuses[0].ContainerID {
		t.Errorf("the pod is another: %v, %v", before, after)
	}
	if out, _, err := w.exec("long", nil, "echo", "still"); out != "still\n" || err != nil {
		t.Errorf("got %q, %v", out, err)
	}
	w.remove()
}

func TestLostConnectionsDoNotEndCommands(t *testing.T) {
	w := loopback(t, 1, sandbox.Config{})
	w.createPod(sh("a", "sleep 1000"))
	w.running("a")
	req := w.core.Post().Namespace("default").Resource("pods").Name("a").SubResource("exec").VersionedParams(&corev1.PodExecOptions{
		Command: []string{"sh", "-c", "echo up; sleep 0.2; echo done >/tmp/done"}, Stdout: true}, w.params)
	x, err := remotecommand.NewWebSocketExecutor(w.rest, "GET", req.URL().String())
	if err != nil {
		t.Fatal(err)
	}
	r, out := io.Pipe()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- x.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: out}) }()
	if _, err := r.Read(make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, r) }()
	w.s.DropKubernetes()
	if err := <-ended; err == nil {
		t.Error("the connection was not broken")
	}
	for {
		if out, _, _ := w.exec("a", nil, "cat", "/tmp/done"); out == "done\n" {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	w.remove()
}
