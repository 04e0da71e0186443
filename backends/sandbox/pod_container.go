package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// Back-off of containers that end, and of images that cannot be pulled: the kubelet's.
const (
	restartBackoff    = 10 * time.Second
	restartBackoffMax = 5 * time.Minute
	restartForgotten  = 10 * time.Minute // after so long a run the back-off begins anew
)

// kubeletLag is how old a container is at least when it is asked to end: a real kubelet is not so
// quick that a shell has not reached its traps yet.
const kubeletLag = 100 * time.Millisecond

// container is one of a pod's.
type container struct {
	p    *pod
	spec *corev1.Container
	init bool
	dir  string

	// k.mu guards what follows.
	status corev1.ContainerStatus
	proc   *process // while it runs
	last   *process // the latest
	ran    bool
	code   int // of the last run
}

func (p *pod) newContainer(spec *corev1.Container, init bool) *container {
	return &container{p: p, spec: spec, init: init, dir: filepath.Join(p.dir, "containers", spec.Name),
		status: corev1.ContainerStatus{Name: spec.Name, Image: spec.Image, Started: ptr.To(false),
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}}}
}

func (c *container) exitCode() int {
	c.p.k.mu.Lock()
	defer c.p.k.mu.Unlock()
	return c.code
}

// change changes the container's status and reports it.
func (c *container) change(f func(*corev1.ContainerStatus)) {
	c.p.k.mu.Lock()
	defer c.p.k.mu.Unlock()
	f(&c.status)
	c.p.sync()
}

func (c *container) waiting(reason, message string) {
	c.change(func(st *corev1.ContainerStatus) {
		st.Ready, st.Started = false, ptr.To(false)
		st.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
	})
}

// run starts the container, again and again as the policy wants, and returns when it is over for
// good: true if it ran to its end, false if the pod is to end.
func (c *container) run(policy corev1.RestartPolicy) bool {
	n, pr := c.adopt()
	backoff := restartBackoff
	for ; ; n++ {
		if pr == nil {
			if !c.pull() {
				return false
			}
			var err error
			if pr, err = c.start(n); err != nil {
				pr = &process{dir: c.attempt(n), err: err, ended: time.Now()}
				c.p.event(corev1.EventTypeWarning, "Failed", "Error: failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: "+err.Error())
			} else {
				c.p.event(corev1.EventTypeNormal, "Started", "Started container "+c.spec.Name)
			}
		}
		c.running(pr, n)
		if !c.await(pr) {
			return false // the program ends
		}
		code := c.over(pr)
		stopped := isClosed(c.p.stop)
		pr = nil
		again := policy == corev1.RestartPolicyAlways && !c.init || code != 0 && policy != corev1.RestartPolicyNever
		if stopped || !again {
			return !stopped
		}
		if c.lastRun() > restartForgotten {
			backoff = restartBackoff
		}
		c.change(func(st *corev1.ContainerStatus) {
			st.RestartCount++
			st.LastTerminationState = st.State
			st.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff",
				Message: fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)", backoff, c.spec.Name, c.p.spec.Name, c.p.spec.Namespace, c.p.spec.UID)}}
		})
		if n > 0 { // the first restart is at once
			c.p.event(corev1.EventTypeWarning, "BackOff", "Back-off restarting failed container "+c.spec.Name+" in pod "+c.p.spec.Name+"_"+c.p.spec.Namespace+"("+string(c.p.spec.UID)+")")
			if !c.p.wait(backoff) {
				return false
			}
			backoff = min(2*backoff, restartBackoffMax)
		}
	}
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func (c *container) lastRun() time.Duration {
	c.p.k.mu.Lock()
	defer c.p.k.mu.Unlock()
	if t := c.status.State.Terminated; t != nil {
		return t.FinishedAt.Sub(t.StartedAt.Time)
	}
	return 0
}

// known reports whether an image can be had. All that is called "sandbox" is the file system of
// this computer; nothing else exists.
func known(image string) bool {
	first, _, _ := strings.Cut(image, "/")
	first, _, _ = strings.Cut(first, "@")
	first, _, _ = strings.Cut(first, ":")
	return first == Image
}

// pull waits until the image is there, which it is at once or never.
func (c *container) pull() bool {
	image := c.spec.Image
	if isClosed(c.p.stop) {
		return false
	}
	if known(image) {
		c.p.event(corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Container image %q already present on machine", image))
		return true
	}
	if c.spec.ImagePullPolicy == corev1.PullNever {
		text := fmt.Sprintf("Container image %q is not present with pull policy of Never", image)
		c.waiting("ErrImageNeverPull", text)
		c.p.event(corev1.EventTypeWarning, "ErrImageNeverPull", text)
		c.p.event(corev1.EventTypeWarning, "Failed", "Error: ErrImageNeverPull")
		for c.p.wait(restartBackoffMax) {
			continue
		}
		return false
	}
	for backoff := restartBackoff; ; backoff = min(2*backoff, restartBackoffMax) {
		text := fmt.Sprintf("failed to pull and unpack image %q: failed to resolve reference %q: %s: not found", image, image, image)
		c.p.event(corev1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", image))
		c.waiting("ErrImagePull", "rpc error: code = NotFound desc = "+text)
		c.p.event(corev1.EventTypeWarning, "Failed", fmt.Sprintf("Failed to pull image %q: rpc error: code = NotFound desc = %s", image, text))
		c.p.event(corev1.EventTypeWarning, "Failed", "Error: ErrImagePull")
		if !c.p.wait(time.Second) {
			return false
		}
		c.waiting("ImagePullBackOff", fmt.Sprintf("Back-off pulling image %q: ErrImagePull: rpc error: code = NotFound desc = %s", image, text))
		c.p.event(corev1.EventTypeNormal, "BackOff", fmt.Sprintf("Back-off pulling image %q", image))
		c.p.event(corev1.EventTypeWarning, "Failed", "Error: ImagePullBackOff")
		if !c.p.wait(backoff) {
			return false
		}
	}
}

func (c *container) attempt(n int) string { return filepath.Join(c.dir, strconv.Itoa(n)) }

// adopt finds what a kubelet before this one started: its last attempt, which may be over.
func (c *container) adopt() (int, *process) {
	list, err := os.ReadDir(c.dir)
	if err != nil {
		return 0, nil
	}
	n := -1
	for _, e := range list {
		if i, err := strconv.Atoi(e.Name()); err == nil {
			n = max(n, i)
		}
	}
	if n < 0 {
		return 0, nil
	}
	return n, adoptProcess(c.p.k.s.waiter(), c.attempt(n))
}

// running notes that the container runs. One that did not start is noted by over alone.
func (c *container) running(pr *process, n int) {
	c.p.k.mu.Lock()
	defer c.p.k.mu.Unlock()
	c.last, c.ran, c.status.RestartCount = pr, true, int32(n) //nolint:gosec // few
	if pr.err != nil {
		return
	}
	c.proc = pr
	c.status.ContainerID = c.id(n)
	c.status.ImageID = "sandbox.invalid/" + Image + "@sha256:" + strings.Repeat("0", 64)
	c.status.Ready, c.status.Started = !c.init, ptr.To(true)
	c.status.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(pr.started.Truncate(time.Second))}}
	c.p.sync()
}

func (c *container) id(n int) string {
	return fmt.Sprintf("sandbox://%s-%s-%d", c.p.spec.UID, c.spec.Name, n)
}

// await waits for the end of a container, and brings it about when the pod is to end. False means
// that the program ends and the container goes on.
func (c *container) await(pr *process) bool {
	if pr.done == nil {
		return true
	}
	select {
	case <-pr.done:
		return true
	case <-c.p.k.done:
		return false
	case <-c.p.stop:
	}
	c.p.event(corev1.EventTypeNormal, "Killing", "Stopping container "+c.spec.Name)
	if age := max(time.Since(pr.started), 0); age < kubeletLag {
		c.p.pause(kubeletLag-age, pr.done)
	}
	if !isClosed(c.p.dead) {
		pr.signal(false)
		t := time.NewTimer(c.p.grace)
		defer t.Stop()
		select {
		case <-pr.done:
			return true
		case <-t.C:
		case <-c.p.dead:
		case <-c.p.k.done:
			return false
		}
	}
	pr.signal(true)
	select {
	case <-pr.done:
		return true
	case <-c.p.k.done:
		return false
	}
}

// over notes how the container ended.
func (c *container) over(pr *process) int {
	code, at := pr.exit()
	x := &corev1.ContainerStateTerminated{ExitCode: int32(code), Reason: "Completed", StartedAt: metav1.NewTime(pr.started.Truncate(time.Second)), //nolint:gosec // a byte
		FinishedAt: metav1.NewTime(at.Truncate(time.Second))}
	switch {
	case pr.err != nil:
		x.Reason, x.Message, x.StartedAt = "StartError", pr.err.Error(), metav1.NewTime(time.Unix(0, 0))
	case code != 0:
		x.Reason = "Error"
	}
	c.p.k.mu.Lock()
	defer c.p.k.mu.Unlock()
	x.ContainerID = c.id(int(c.status.RestartCount))
	c.proc, c.code = nil, code
	c.status.Ready, c.status.Started = false, ptr.To(false)
	c.status.State = corev1.ContainerState{Terminated: x}
	c.p.sync()
	return code
}
