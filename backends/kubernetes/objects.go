package kubernetes

import (
	"encoding/json"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/internal/supervisor"
)

// defaultScratch is on the disk of the node and outlives its reboots.
const defaultScratch = "/var/tmp/dlx"

// path is where the scratch volume is mounted: in pods where it lies on the node, so that a path
// means the same on both.
func (s Scratch) path() string {
	if s.HostPath != "" {
		return path.Clean(s.HostPath)
	}
	return defaultScratch
}

func (s Scratch) volume() corev1.VolumeSource {
	if s.Claim != "" {
		return corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: s.Claim}}
	}
	return corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: s.path(), Type: ptr.To(corev1.HostPathDirectoryOrCreate)}}
}

// ownerMap is what all other objects of a fleet belong to.
func ownerMap(o backends.Owner, until time.Time) *corev1.ConfigMap {
	return &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: meta(o, ownerName(o), until), Data: map[string]string{"run": o.Run, "fleet": o.Fleet}}
}

// owned adds the reference that lets an object go with its fleet.
func owned(m metav1.ObjectMeta, owner *corev1.ConfigMap) metav1.ObjectMeta {
	m.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID, BlockOwnerDeletion: ptr.To(true)}}
	return m
}

// service gives the processes of a fleet names. They are there before the processes listen.
func service(o backends.Owner, until time.Time) *corev1.Service {
	return &corev1.Service{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: meta(o, ownerName(o), until), Spec: corev1.ServiceSpec{
		ClusterIP: corev1.ClusterIPNone, PublishNotReadyAddresses: true,
		Selector: map[string]string{labelManager: manager, labelRun: label(o.Run), labelFleet: label(o.Fleet), labelPart: process},
	}}
}

// hold is what a holder runs: nothing, and it ends at once when it is told to, or when its image or
// its node's disk is gone, so that nothing can be run any more.
const hold = `trap 'exit 0' TERM INT; while sleep 3600 & wait $!; do :; done; exit 1`

// holderPod is the pod that keeps a machine's place.
func holderPod(s *spot, until time.Time) *corev1.Pod {
	o := s.at.Owner
	m := meta(o, s.holder, until)
	m.Labels[labelPart], m.Labels[labelRole], m.Labels[labelMachine] = holder, holder, label(s.machine.Name)
	m.Annotations[labelMachine] = s.machine.Name
	if s.inSet {
		m.Annotations[keyJobSet] = "true"
	}
	spec := podSpec(s)
	spec.RestartPolicy = corev1.RestartPolicyAlways
	spec.TerminationGracePeriodSeconds = ptr.To(int64(5))
	c := &spec.Containers[0]
	c.Name, c.Command = holder, []string{"/bin/sh", "-c", literal(hold)}
	// Zeros, for a namespace may give defaults to those who say nothing.
	c.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.Quantity{}, corev1.ResourceMemory: resource.Quantity{}}
	beside := []corev1.PodAffinityTerm{{TopologyKey: labelHost, LabelSelector: &metav1.LabelSelector{
		MatchLabels: map[string]string{labelManager: manager, labelRun: label(o.Run), labelFleet: label(o.Fleet), labelPart: holder}}}}
	// A dlx in the cluster is better not on a node where something is measured.
	away := &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{Weight: 100,
		PodAffinityTerm: corev1.PodAffinityTerm{TopologyKey: labelHost, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{labelManager: detacher}}}}}}
	spec.Affinity = &corev1.Affinity{PodAntiAffinity: away}
	switch s.at.Hosts {
	case backends.SameHost:
		spec.Affinity.PodAffinity = &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: beside}
	case backends.AnyHosts:
	case backends.DifferentHosts:
		away.RequiredDuringSchedulingIgnoredDuringExecution = beside
	}
	return &corev1.Pod{ObjectMeta: m, Spec: spec}
}

// podSpec is what all pods of a machine have in common.
func podSpec(s *spot) corev1.PodSpec {
	p := s.pod
	spec := corev1.PodSpec{
		AutomountServiceAccountToken: ptr.To(false),
		EnableServiceLinks:           ptr.To(false),
		NodeSelector:                 p.NodeSelector,
		ServiceAccountName:           p.ServiceAccount,
		HostNetwork:                  p.HostNetwork,
		Volumes:                      []corev1.Volume{{Name: "scratch", VolumeSource: p.Scratch.volume()}},
		Containers: []corev1.Container{{
			Image: p.Image, ImagePullPolicy: corev1.PullPolicy(p.PullPolicy),
			VolumeMounts: []corev1.VolumeMount{{Name: "scratch", MountPath: p.Scratch.path()}},
		}},
	}
	for i, m := range p.Mounts {
		name := "mount-" + strconv.Itoa(i)
		from := corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: m.HostPath, Type: ptr.To(corev1.HostPathDirectory)}}
		if m.Claim != "" {
			from = corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: m.Claim, ReadOnly: true}}
		}
		spec.Volumes = append(spec.Volumes, corev1.Volume{Name: name, VolumeSource: from})
		c := &spec.Containers[0]
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: m.Path, ReadOnly: true})
	}
	for _, t := range p.Tolerations {
		spec.Tolerations = append(spec.Tolerations, corev1.Toleration{
			Key: t.Key, Operator: corev1.TolerationOperator(t.Operator), Value: t.Value, Effect: corev1.TaintEffect(t.Effect)})
	}
	if p.PullSecret != "" {
		spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: p.PullSecret}}
	}
	if p.RuntimeClass != "" {
		spec.RuntimeClassName = &p.RuntimeClass
	}
	if p.User > 0 {
		restrict(&spec, p.User)
	}
	if p.HostNetwork {
		spec.DNSPolicy = corev1.DNSClusterFirstWithHostNet
	}
	return spec
}

// restrict makes pods those of a user who is not root, as the level "restricted" of the Pod Security Standards
// demands. Only then: a seccomp profile takes time of every system call.
func restrict(s *corev1.PodSpec, user int64) {
	s.SecurityContext = &corev1.PodSecurityContext{
		RunAsNonRoot: ptr.To(true), RunAsUser: &user, RunAsGroup: &user, FSGroup: &user,
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	s.Containers[0].SecurityContext = &corev1.SecurityContext{
		AllowPrivilegeEscalation: ptr.To(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
}

// gate keeps the pods of a group from being scheduled until each has got the node of its process:
// a Job's template is the same for all of its pods.
const gateName = "dlx.dev/place"

// overtime is how much longer than its Timeout a pod may live: the supervisor ends the program
// by itself and needs its own ten seconds for that; volumes and network take some before.
const overtime = 5 * time.Minute

// job is that of a group. The processes' folders are those of the supervisor.
func job(g *backends.Group, spots []*spot, folders []string) *batchv1.Job {
	s := spots[0]
	o := s.at.Owner
	name := s.jobName(g.ID)
	head := meta(o, name, time.Time{})
	head.Labels[labelGroup], head.Labels[labelRole] = name, process
	head.Annotations[labelGroup] = g.ID
	pod := *head.DeepCopy()
	pod.Name = ""
	pod.Labels[labelPart] = process

	spec := podSpec(s)
	spec.RestartPolicy = corev1.RestartPolicyNever
	spec.TerminationGracePeriodSeconds = ptr.To(int64(30)) // the supervisor gives the program 10 s
	spec.Subdomain = ownerName(o)
	if g.Timeout > 0 {
		spec.ActiveDeadlineSeconds = ptr.To(int64((g.Timeout + overtime) / time.Second))
	}
	c := &spec.Containers[0]
	c.Name = process
	c.TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
	c.Command = []string{"/bin/sh", "-c", literal(enter), "dlx", s.home(), script(), "pod", supervisor.Seconds(g.Timeout)}
	for i := range spots {
		c.Args = append(c.Args, literal(folders[i]), literal(supervisor.Script(g.Process(i))))
	}
	c.Resources = resources(g, s.pod.GPU)
	if name := claimed(s, g); name != "" {
		spec.ResourceClaims = []corev1.PodResourceClaim{{Name: devices, ResourceClaimTemplateName: &name}}
		c.Resources.Claims = []corev1.ResourceClaim{{Name: devices}}
	}
	queue := s.pod.Queue
	if node := sameNode(spots); node != "" && queue == "" && !s.inSet {
		spec.Affinity = onNode(node)
	} else {
		spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: gateName}}
	}
	n := ptr.To(int32(len(spots)))
	var suspend *bool
	if queue != "" {
		head.Labels[labelQueue], suspend = queue, ptr.To(true)
	}
	return &batchv1.Job{ObjectMeta: head, Spec: batchv1.JobSpec{
		Suspend:        suspend,
		CompletionMode: ptr.To(batchv1.IndexedCompletion), Completions: n, Parallelism: n,
		// The end of one process, however it comes, is not the end of the others, and none is
		// started a second time.
		BackoffLimitPerIndex: ptr.To(int32(0)),
		PodReplacementPolicy: ptr.To(batchv1.Failed),
		Template:             corev1.PodTemplateSpec{ObjectMeta: pod, Spec: spec},
	}}
}

const devices = "devices"

// claimed names the template of the claims that the processes of a group have on devices; "": they
// have none. Groups of a fleet that want as many of a class share one.
func claimed(s *spot, g *backends.Group) string {
	if s.pod.DeviceClass == "" || g.GPUs == 0 {
		return ""
	}
	return "dlx-" + dns(fmt.Sprint(s.at.Owner.Run, " ", s.at.Owner.Fleet, " ", g.GPUs, " ", s.pod.DeviceClass), maxLabel-4)
}

// claimTemplate is what the claims of a group's processes are made from, one each.
func claimTemplate(s *spot, g *backends.Group) *resourcev1.ResourceClaimTemplate {
	head := meta(s.at.Owner, claimed(s, g), time.Time{})
	claim := *head.DeepCopy()
	claim.Name = ""
	return &resourcev1.ResourceClaimTemplate{TypeMeta: metav1.TypeMeta{APIVersion: "resource.k8s.io/v1", Kind: "ResourceClaimTemplate"}, ObjectMeta: head,
		Spec: resourcev1.ResourceClaimTemplateSpec{ObjectMeta: claim, Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{
			Requests: []resourcev1.DeviceRequest{{Name: devices, Exactly: &resourcev1.ExactDeviceRequest{
				DeviceClassName: s.pod.DeviceClass, AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: int64(g.GPUs)}}}}}}}
}

// literal keeps kubelet from expanding a text of a command: it makes $ of $$ (which is a shell's
// process ID), and puts in the variables that stand in $(...).
func literal(s string) string { return strings.ReplaceAll(s, "$", "$$") }

// resources are requests and limits at once: whole CPUs for a program alone.
func resources(g *backends.Group, gpu string) corev1.ResourceRequirements {
	list := corev1.ResourceList{}
	if g.CPUs > 0 {
		list[corev1.ResourceCPU] = *resource.NewQuantity(int64(g.CPUs), resource.DecimalSI)
	}
	if g.MemoryMiB > 0 {
		list[corev1.ResourceMemory] = *resource.NewQuantity(int64(g.MemoryMiB)<<20, resource.BinarySI)
	}
	if g.GPUs > 0 && gpu != "" {
		list[corev1.ResourceName(gpu)] = *resource.NewQuantity(int64(g.GPUs), resource.DecimalSI)
	}
	if len(list) == 0 {
		return corev1.ResourceRequirements{}
	}
	return corev1.ResourceRequirements{Requests: list, Limits: list.DeepCopy()}
}

// sameNode gives the node that all machines are places on; "" if they differ.
func sameNode(spots []*spot) string {
	for _, s := range spots {
		if s.at.Node != spots[0].at.Node {
			return ""
		}
	}
	return spots[0].at.Node
}

// onNode demands a node by its name, as a DaemonSet does: its label kubernetes.io/hostname may
// be another.
func onNode(node string) *corev1.Affinity {
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{
			{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}}}}}}}
}

// place is the patch that puts a gated pod onto a node. The API allows it while the gate is there. Gates
// of others stay.
func place(node string, gates []corev1.PodSchedulingGate) (string, error) {
	var others []corev1.PodSchedulingGate
	for _, g := range gates {
		if g.Name != gateName {
			others = append(others, g)
		}
	}
	doc, err := json.Marshal(map[string]any{"spec": map[string]any{"affinity": onNode(node), "schedulingGates": others}})
	return string(doc), err
}

// indexOf says which process of its group a pod is; -1: none.
func indexOf(p *corev1.Pod) int {
	i, err := strconv.Atoi(p.Annotations[keyIndex])
	if err != nil {
		return -1
	}
	return i
}
