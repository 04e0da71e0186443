package kubernetes

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"dlx.dev/dlx/backends"
)

// A trouble is why a pod does not run, in the cluster's words.
type trouble struct {
	class backends.Class
	words string
	after time.Duration // it may pass by itself: no failure before it has lasted so long
}

func (t *trouble) err(op string) error { return backends.Errorf(t.class, op, "%s", t.words) }

// How long trouble may last that often passes by itself.
const (
	// settle: the scheduler learns of the end of pods a moment after everybody else.
	settle = 3 * time.Second
	// mending: kubelet tries mounts and sandboxes again, with pauses of up to two minutes. It
	// stands for Options.Mend.
	mending = 3 * time.Minute
)

// troubleOf says why a pod that has not ended does not run; nil: nothing speaks against it.
func troubleOf(p *corev1.Pod, warnings []*corev1.Event) *trouble {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			t := unschedulable(c.Message)
			if strings.Contains(c.Message, "node affinity/selector") && len(p.Spec.NodeSelector) > 0 {
				t.words += " (the node selector is " + labels.FormatLabels(p.Spec.NodeSelector) + ")"
			}
			return t
		}
	}
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for _, s := range list {
			if t := waiting(s); t != nil {
				return t
			}
		}
	}
	var last *corev1.Event
	for _, e := range warnings {
		switch e.Reason {
		case "FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "NetworkNotReady", "FailedMapVolume":
			if last == nil || seen(last).Before(seen(e)) {
				last = e
			}
		}
	}
	if last == nil || p.Status.Phase != corev1.PodPending {
		return nil
	}
	return &trouble{class: backends.Infra, words: last.Reason + ": " + clip(last.Message), after: mending}
}

func seen(e *corev1.Event) time.Time {
	if e.Series != nil && e.Series.LastObservedTime.After(e.LastTimestamp.Time) {
		return e.Series.LastObservedTime.Time
	}
	if e.LastTimestamp.IsZero() {
		return e.EventTime.Time
	}
	return e.LastTimestamp.Time
}

// unschedulable judges what a scheduler says: "0/3 nodes are available: 1 Insufficient cpu, 2
// node(s) didn't match Pod's node affinity/selector. preemption: ...".
func unschedulable(message string) *trouble {
	said, _, _ := strings.Cut(message, " preemption:")
	t := &trouble{class: backends.Config, words: "Unschedulable: " + clip(said), after: settle}
	for _, joins := range []string{"unbound immediate PersistentVolumeClaims", "no nodes available", "node.kubernetes.io/not-ready", "node.kubernetes.io/network-unavailable", "node.cloudprovider.kubernetes.io/uninitialized"} {
		if strings.Contains(said, joins) { // a volume is made, and the nodes of a new cluster come one by one
			t.after = mending
		}
	}
	for _, passes := range []string{
		"Insufficient ", "Too many pods", "no nodes available", // room
		"cannot allocate all claims", "resourceclaim not available", // devices
		"were unschedulable", "node.kubernetes.io/", "node.cloudprovider.kubernetes.io/", // nodes that are cordoned, not ready or new
		"free ports", // of hostNetwork
	} {
		if strings.Contains(said, passes) {
			t.class = backends.Capacity
		}
	}
	return t
}

// fewerNodes reports whether a scheduler looked at fewer nodes than are wanted: "0/2 nodes are
// available: ...".
func fewerNodes(words string, wanted int) bool {
	var n int
	_, err := fmt.Sscanf(words, "Unschedulable: 0/%d nodes", &n)
	return err == nil && n < wanted
}

// waiting judges why a container is not up. A holder is started again when it fails, so that the
// reason of the last end counts as well.
func waiting(s corev1.ContainerStatus) *trouble {
	w := s.State.Waiting
	if w == nil {
		return nil
	}
	t := &trouble{class: backends.Config, words: w.Reason + ": " + clip(w.Message)}
	switch w.Reason {
	case "ErrImagePull", "ImagePullBackOff":
		if !passes(w.Message) {
			return t
		}
		t.class, t.after = backends.Infra, mending
		return t
	case "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "CreateContainerConfigError", "CreateContainerError", "RunContainerError":
		return t
	case "RegistryUnavailable", "SignatureValidationFailed":
		t.class, t.after = backends.Infra, mending
		return t
	case "CrashLoopBackOff":
		if d := s.LastTerminationState.Terminated; d != nil {
			t.words = fmt.Sprintf("%s: exit code %d: %s: %s", w.Reason, d.ExitCode, d.Reason, clip(d.Message))
		}
		return t
	}
	return nil
}

// passes reports whether an image that could not be pulled may be had later. The words are those
// of registries and of the network; there is no code.
func passes(message string) bool {
	low := strings.ToLower(message)
	for _, words := range []string{
		"toomanyrequests", "too many requests", "i/o timeout", "connection refused", "connection reset", "no such host", "tls handshake timeout",
		"context deadline exceeded", "503 service", "502 bad gateway", "504 gateway", "500 internal", "unexpected eof", "no space left",
	} {
		if strings.Contains(low, words) {
			return true
		}
	}
	return false
}

// creationFailed judges what the Job controller says when it can make no pod; nil: nothing.
func creationFailed(warnings []*corev1.Event) *trouble {
	var last *corev1.Event
	for _, e := range warnings {
		if e.Reason == "FailedCreate" && (last == nil || seen(last).Before(seen(e))) {
			last = e
		}
	}
	if last == nil {
		return nil
	}
	t := &trouble{words: last.Reason + ": " + clip(last.Message)}
	switch {
	case strings.Contains(last.Message, "exceeded quota"):
		t.class, t.after = backends.Quota, settle
	case strings.Contains(last.Message, "is forbidden") && !strings.Contains(last.Message, "is being terminated"), strings.Contains(last.Message, "is invalid"):
		t.class, t.after = backends.Config, settle
	default:
		t.class, t.after = backends.Infra, mending
	}
	return t
}

// ended reports whether all containers of a pod have ended for good.
func ended(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// endOfPod says in the cluster's words how a pod ended.
func endOfPod(p *corev1.Pod) string {
	var words []string
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue {
			words = append(words, c.Reason+": "+clip(c.Message))
		}
	}
	if p.Status.Reason != "" {
		words = append(words, p.Status.Reason+": "+clip(p.Status.Message))
	}
	if d := terminated(p); d != nil {
		words = append(words, strings.TrimSuffix(fmt.Sprintf("%s (%d): %s", d.Reason, d.ExitCode, clip(d.Message)), ": "))
	}
	if p.DeletionTimestamp != nil {
		words = append(words, "it was deleted")
	}
	if len(words) == 0 {
		return "phase " + string(p.Status.Phase)
	}
	return strings.Join(words, "; ")
}

// terminated says how the container of a pod ended; nil: it has not.
func terminated(p *corev1.Pod) *corev1.ContainerStateTerminated {
	for _, s := range p.Status.ContainerStatuses {
		if s.State.Terminated != nil {
			return s.State.Terminated
		}
	}
	return nil
}

// started reports whether the container of a pod runs or has run.
func started(p *corev1.Pod) bool {
	for _, s := range p.Status.ContainerStatuses {
		if s.State.Running != nil || s.State.Terminated != nil {
			return true
		}
	}
	return ended(p)
}

// lost judges the end of a process that left no record, by the end of its pod.
func lost(p *corev1.Pod) (backends.Class, string) {
	if d := terminated(p); d != nil && d.Reason == "OOMKilled" {
		limit := "none of its own"
		for _, c := range p.Spec.Containers {
			if q, ok := c.Resources.Limits[corev1.ResourceMemory]; ok {
				limit = q.String()
			}
		}
		return backends.Workload, "OOMKilled: memory limit " + limit
	}
	return backends.Infra, "it vanished without a trace: " + endOfPod(p)
}
