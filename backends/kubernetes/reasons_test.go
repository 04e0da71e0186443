package kubernetes

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"dlx.dev/dlx/backends"
)

// The messages are those of real servers of 1.37.
func TestWhatKeepsAPodFromRunning(t *testing.T) {
	unscheduled := func(message string) *corev1.Pod {
		return &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: message}}}}
	}
	waits := func(reason, message string) *corev1.Pod {
		return &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{
			{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}}}}
	}
	crashed := waits("CrashLoopBackOff", "back-off 10s restarting failed container")
	crashed.Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{
		ExitCode: 128, Reason: "StartError", Message: `exec: "/bin/sh": stat /bin/sh: no such file or directory`}
	gated := unscheduled("Scheduling is blocked due to non-empty scheduling gates")
	gated.Status.Conditions[0].Reason = corev1.PodReasonSchedulingGated
	selected := unscheduled("0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.")
	selected.Spec.NodeSelector = map[string]string{"gpu": "p100"}
	for _, c := range []struct {
		name  string
		pod   *corev1.Pod
		warns []*corev1.Event
		class backends.Class // "": nothing speaks against it
		words string
		soon  bool // it is final at once, or after a moment
	}{
		{"a pod that is scheduled", &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodPending}}, nil, "", "", false},
		{"a gate is ours", gated, nil, "", "", false},
		{"CPUs that are taken", unscheduled("0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match Pod's node affinity/selector. preemption: 0/2"), nil, backends.Capacity, "1 Insufficient cpu", true},
		{"GPUs that are taken", unscheduled("0/1 nodes are available: 1 Insufficient nvidia.com/gpu."), nil, backends.Capacity, "nvidia.com/gpu", true},
		{"devices that are taken", unscheduled("0/4 nodes are available: 1 cannot allocate all claims, 3 node(s) didn't satisfy plugin(s) [NodeAffinity]. still not schedulable, preemption: 0/4"), nil, backends.Capacity, "cannot allocate all claims", true},
		{"too many pods", unscheduled("0/1 nodes are available: 1 Too many pods."), nil, backends.Capacity, "Too many pods", true},
		{"no node at all", unscheduled("no nodes available to schedule pods"), nil, backends.Capacity, "no nodes", false},
		{"nodes that are cordoned", unscheduled("0/1 nodes are available: 1 node(s) were unschedulable."), nil, backends.Capacity, "unschedulable", true},
		{"a node that is not ready", unscheduled("0/1 nodes are available: 1 node(s) had untolerated taint(s) {node.kubernetes.io/not-ready: }."), nil, backends.Capacity, "not-ready", false},
		{"labels that no node has", selected, nil, backends.Config, "selector. (the node selector is gpu=p100)", true},
		{"a taint of the site", unscheduled("0/1 nodes are available: 1 node(s) had untolerated taint(s) {lab/real: true}."), nil, backends.Config, "lab/real", true},
		{"fewer nodes than machines apart", unscheduled("0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules."), nil, backends.Config, "anti-affinity", true},
		{"a claim that is not there", unscheduled(`persistentvolumeclaim "data" not found`), nil, backends.Config, "data", true},
		{"an image that is nowhere", waits("ErrImagePull", `failed to resolve reference "docker.io/library/nosuch:1": not found`), nil, backends.Config, "ErrImagePull", true},
		{"an image that is not here", waits("ErrImageNeverPull", `Container image "x" is not present with pull policy of Never`), nil, backends.Config, "Never", true},
		{"a registry that is busy", waits("ImagePullBackOff", "429 Too Many Requests - Server message: toomanyrequests: You have reached your pull rate limit"), nil, backends.Infra, "rate limit", false},
		{"a name that is none", waits("InvalidImageName", `couldn't parse image name "UPPER"`), nil, backends.Config, "UPPER", true},
		{"a secret that is not there", waits("CreateContainerConfigError", `secret "x" not found`), nil, backends.Config, "secret", true},
		{"an image without a shell", crashed, nil, backends.Config, "/bin/sh", true},
		{"a container on its way", waits("ContainerCreating", ""), nil, "", "", false},
		{"a volume that cannot be mounted", waits("ContainerCreating", ""), []*corev1.Event{event("FailedMount", "MountVolume.SetUp failed", 1), event("Pulled", "", 2)}, backends.Infra, "MountVolume", false},
		{"the last of the warnings counts", waits("ContainerCreating", ""), []*corev1.Event{event("FailedMount", "a", 1), event("FailedCreatePodSandBox", "b", 2)}, backends.Infra, "SandBox: b", false},
	} {
		got := troubleOf(c.pod, c.warns)
		switch {
		case got == nil && c.class == "":
		case got == nil || c.class == "":
			t.Errorf("%s: got %+v", c.name, got)
		case got.class != c.class || !strings.Contains(got.words, c.words) || (got.after <= settle) != c.soon:
			t.Errorf("%s: got %+v; want %s with %q", c.name, got, c.class, c.words)
		case strings.Contains(got.words, "preemption"):
			t.Errorf("%s: %q says what helps nobody", c.name, got.words)
		}
	}
}

func event(reason, message string, second int64) *corev1.Event {
	return &corev1.Event{Reason: reason, Message: message, LastTimestamp: metav1.NewTime(time.Unix(second, 0))}
}

func TestWhyAJobHasNoPod(t *testing.T) {
	for _, c := range []struct {
		message string
		class   backends.Class
	}{
		{`Error creating: pods "p" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=2, used: requests.nvidia.com/gpu=4, limited: requests.nvidia.com/gpu=4`, backends.Quota},
		{`Error creating: pods "p" is forbidden: violates PodSecurity "restricted:latest": hostPath volumes (volume "scratch")`, backends.Config},
		{`Error creating: Pod "p" is invalid: spec.containers[0].resources.limits: Invalid value`, backends.Config},
		{`Error creating: pods "p" is forbidden: unable to create new content in namespace x because it is being terminated`, backends.Infra},
		{`Error creating: Internal error occurred: failed calling webhook "x"`, backends.Infra},
	} {
		got := creationFailed([]*corev1.Event{event("SuccessfulCreate", "", 9), event("FailedCreate", "before", 1), event("FailedCreate", c.message, 2)})
		if got == nil || got.class != c.class || !strings.Contains(got.words, c.message[:40]) {
			t.Errorf("%s: got %+v; want %s", c.message, got, c.class)
		}
	}
	if got := creationFailed([]*corev1.Event{event("SuccessfulCreate", "", 9)}); got != nil {
		t.Errorf("got %+v", got)
	}
}

func TestHowAPodWithoutARecordEnded(t *testing.T) {
	ends := func(reason string, code int32) *corev1.Pod {
		p := &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodFailed, ContainerStatuses: []corev1.ContainerStatus{
			{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: reason, ExitCode: code}}}}}}
		p.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}}}}
		return p
	}
	evicted := &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "The node was low on resource: memory."}}
	disrupted := ends("Error", 137)
	disrupted.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByTaintManager", Message: "Taint manager: deleting due to NoExecute taint"}}
	for name, c := range map[string]struct {
		pod   *corev1.Pod
		class backends.Class
		words string
	}{
		"memory":    {ends("OOMKilled", 137), backends.Workload, "OOMKilled: memory limit 64Mi"},
		"evicted":   {evicted, backends.Infra, "Evicted: The node was low on resource: memory."},
		"disrupted": {disrupted, backends.Infra, "DeletionByTaintManager"},
		"killed":    {ends("Error", 137), backends.Infra, "Error (137)"},
	} {
		if class, words := lost(c.pod); class != c.class || !strings.Contains(words, c.words) {
			t.Errorf("%s: got %s, %q", name, class, words)
		}
	}
}

func TestFewerNodesThanWantedMayStillJoin(t *testing.T) {
	for words, want := range map[string]bool{
		"Unschedulable: 0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules": true,
		"Unschedulable: 0/3 nodes are available: 3 Insufficient cpu":                             false,
		"ErrImagePull: 0/2 nodes": false,
	} {
		if got := fewerNodes(words, 3); got != want {
			t.Errorf("%s: got %v", words, got)
		}
	}
}
