package sandbox

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/utils/ptr"
)

// of makes a cell out of an object of a known type.
func of[T object](f func(T) any) func(object) any {
	return func(o object) any {
		t, ok := o.(T)
		if !ok {
			return ""
		}
		return f(t)
	}
}

// columns are those of the API server's table of a kind, as far as the sandbox fills the fields.
func (kd *kind) columns() []column {
	name, old := column{name: "Name", cell: func(o object) any { return o.GetName() }}, column{name: "Age", cell: created}
	switch kd {
	case pods:
		return append([]column{name, {name: "Ready", cell: of(containersReady)}, {name: "Status", cell: of(podStatus)}, {name: "Restarts", cell: of(podRestarts)}, old},
			column{name: "IP", wide: true, cell: of(func(p *corev1.Pod) any { return orNone(p.Status.PodIP) })},
			column{name: "Node", wide: true, cell: of(func(p *corev1.Pod) any { return orNone(p.Spec.NodeName) })},
			column{name: "Nominated Node", wide: true, cell: of(func(p *corev1.Pod) any { return orNone(p.Status.NominatedNodeName) })},
			column{name: "Readiness Gates", wide: true, cell: of(func(*corev1.Pod) any { return orNone() })})
	case nodes:
		return []column{
			name, {name: "Status", cell: of(nodeStatus)}, {name: "Roles", cell: of(func(*corev1.Node) any { return orNone() })}, old,
			{name: "Version", cell: of(func(n *corev1.Node) any { return n.Status.NodeInfo.KubeletVersion })},
			{name: "Internal-IP", wide: true, cell: of(nodeAddress)},
			{name: "External-IP", wide: true, cell: of(func(*corev1.Node) any { return orNone() })},
			{name: "OS-Image", wide: true, cell: of(func(n *corev1.Node) any { return n.Status.NodeInfo.OSImage })},
			{name: "Kernel-Version", wide: true, cell: of(func(n *corev1.Node) any { return orNone(n.Status.NodeInfo.KernelVersion) })},
			{name: "Container-Runtime", wide: true, cell: of(func(n *corev1.Node) any { return n.Status.NodeInfo.ContainerRuntimeVersion })},
		}
	case services:
		return []column{
			name, {name: "Type", cell: of(func(s *corev1.Service) any { return string(s.Spec.Type) })},
			{name: "Cluster-IP", cell: of(func(s *corev1.Service) any { return orNone(s.Spec.ClusterIP) })},
			{name: "External-IP", cell: of(func(s *corev1.Service) any { return orNone(s.Spec.ExternalIPs...) })},
			{name: "Port(s)", cell: of(servicePorts)}, old,
			{name: "Selector", wide: true, cell: of(func(s *corev1.Service) any { return orNone(labels.FormatLabels(s.Spec.Selector)) })},
		}
	case jobs:
		return []column{
			name, {name: "Status", cell: of(jobStatus)}, {name: "Completions", cell: of(jobCompletions)}, {name: "Duration", cell: of(jobDuration)}, old,
			{name: "Containers", wide: true, cell: of(func(j *batchv1.Job) any { return containerTexts(j, func(c *corev1.Container) string { return c.Name }) })},
			{name: "Images", wide: true, cell: of(func(j *batchv1.Job) any {
				return containerTexts(j, func(c *corev1.Container) string { return c.Image })
			})},
			{name: "Selector", wide: true, cell: of(func(j *batchv1.Job) any { return metav1.FormatLabelSelector(j.Spec.Selector) })},
		}
	case namespaces:
		return []column{name, {name: "Status", cell: of(func(n *corev1.Namespace) any { return string(n.Status.Phase) })}, old}
	case configMaps:
		return []column{name, {name: "Data", cell: of(func(m *corev1.ConfigMap) any { return len(m.Data) + len(m.BinaryData) })}, old}
	case secrets:
		return []column{
			name, {name: "Type", cell: of(func(s *corev1.Secret) any { return string(s.Type) })},
			{name: "Data", cell: of(func(s *corev1.Secret) any { return len(s.Data) })}, old,
		}
	case events:
		return []column{
			{name: "Last Seen", cell: of(func(e *corev1.Event) any { return age(e.LastTimestamp) })}, {name: "Type", cell: of(func(e *corev1.Event) any { return e.Type })},
			{name: "Reason", cell: of(func(e *corev1.Event) any { return e.Reason })},
			{name: "Object", cell: of(func(e *corev1.Event) any { return strings.ToLower(e.InvolvedObject.Kind) + "/" + e.InvolvedObject.Name })},
			{name: "Message", cell: of(func(e *corev1.Event) any { return strings.TrimSpace(e.Message) })},
			{name: "Name", wide: true, cell: name.cell},
		}
	case quotas:
		return []column{name, {name: "Request", cell: of(quotaTexts)}, old}
	case limitRanges:
		return []column{name, {name: "Created At", cell: func(o object) any { return o.GetCreationTimestamp().UTC().Format(time.RFC3339) }}}
	case claims:
		return []column{
			name, {name: "Status", cell: of(func(c *corev1.PersistentVolumeClaim) any { return string(c.Status.Phase) })},
			{name: "Volume", cell: of(func(c *corev1.PersistentVolumeClaim) any { return c.Spec.VolumeName })},
			{name: "StorageClass", cell: of(func(c *corev1.PersistentVolumeClaim) any { return ptr.Deref(c.Spec.StorageClassName, "") })}, old,
		}
	default:
		return []column{name, old}
	}
}

func containersReady(p *corev1.Pod) any {
	ready := 0
	for i := range p.Status.ContainerStatuses {
		if p.Status.ContainerStatuses[i].Ready {
			ready++
		}
	}
	return fmt.Sprintf("%d/%d", ready, len(p.Spec.Containers))
}

func podRestarts(p *corev1.Pod) any {
	var n int32
	for i := range p.Status.ContainerStatuses {
		n += p.Status.ContainerStatuses[i].RestartCount
	}
	return fmt.Sprint(n)
}

// podStatus is one word for how a pod is: why it or a container waits or has ended, or its phase.
func podStatus(p *corev1.Pod) any {
	if p.DeletionTimestamp != nil {
		return "Terminating"
	}
	for i := range p.Status.InitContainerStatuses {
		switch s := p.Status.InitContainerStatuses[i].State; {
		case s.Terminated != nil && s.Terminated.ExitCode == 0:
		case s.Terminated != nil:
			return "Init:" + endOf(s.Terminated)
		case s.Waiting != nil && s.Waiting.Reason != "" && s.Waiting.Reason != "PodInitializing":
			return "Init:" + s.Waiting.Reason
		default:
			return fmt.Sprintf("Init:%d/%d", i, len(p.Spec.InitContainers))
		}
	}
	for i := range p.Status.ContainerStatuses {
		switch s := p.Status.ContainerStatuses[i].State; {
		case s.Waiting != nil && s.Waiting.Reason != "":
			return s.Waiting.Reason
		case s.Terminated != nil && p.Status.Reason == "":
			return endOf(s.Terminated)
		}
	}
	if p.Status.Reason != "" {
		return p.Status.Reason
	}
	return string(p.Status.Phase)
}

func endOf(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	default:
		return fmt.Sprintf("ExitCode:%d", t.ExitCode)
	}
}

func nodeStatus(n *corev1.Node) any {
	status := "Unknown"
	for _, c := range n.Status.Conditions {
		switch {
		case c.Type != corev1.NodeReady:
		case c.Status == corev1.ConditionTrue:
			status = "Ready"
		default:
			status = "NotReady"
		}
	}
	if n.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	return status
}

func nodeAddress(n *corev1.Node) any {
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			return a.Address
		}
	}
	return orNone()
}

func servicePorts(s *corev1.Service) any {
	var list []string
	for _, p := range s.Spec.Ports {
		list = append(list, fmt.Sprintf("%d/%s", p.Port, p.Protocol))
	}
	return orNone(list...)
}

func jobStatus(j *batchv1.Job) any {
	for _, c := range j.Status.Conditions {
		if c.Status == corev1.ConditionTrue && (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed || c.Type == batchv1.JobSuspended) {
			return string(c.Type)
		}
	}
	if j.DeletionTimestamp != nil {
		return "Terminating"
	}
	return "Running"
}

func jobCompletions(j *batchv1.Job) any {
	switch p := ptr.Deref(j.Spec.Parallelism, 1); {
	case j.Spec.Completions != nil:
		return fmt.Sprintf("%d/%d", j.Status.Succeeded, *j.Spec.Completions)
	case p > 1:
		return fmt.Sprintf("%d/1 of %d", j.Status.Succeeded, p)
	default:
		return fmt.Sprintf("%d/1", j.Status.Succeeded)
	}
}

func jobDuration(j *batchv1.Job) any {
	switch {
	case j.Status.StartTime == nil:
		return ""
	case j.Status.CompletionTime == nil:
		return duration.HumanDuration(time.Since(j.Status.StartTime.Time))
	default:
		return duration.HumanDuration(j.Status.CompletionTime.Sub(j.Status.StartTime.Time))
	}
}

func containerTexts(j *batchv1.Job, f func(*corev1.Container) string) string {
	var list []string
	for i := range j.Spec.Template.Spec.Containers {
		list = append(list, f(&j.Spec.Template.Spec.Containers[i]))
	}
	return strings.Join(list, ",")
}

func quotaTexts(q *corev1.ResourceQuota) any {
	var list []string
	for _, r := range slices.Sorted(maps.Keys(q.Status.Hard)) {
		used, hard := q.Status.Used[r], q.Status.Hard[r]
		list = append(list, fmt.Sprintf("%s: %s/%s", r, used.String(), hard.String()))
	}
	return strings.Join(list, ", ")
}
