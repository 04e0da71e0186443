package kubernetes

import (
	_ "embed"
	"maps"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

// DetachedHome is where the claim of a run is mounted in its pods.
const DetachedHome = defaultScratch

// detacher is the manager of what a detached run is made of.
const detacher = "dlx-detach"

// Exit codes of dlx after which another pod would do no better: trials failed, the plan is wrong.
var finalCodes = []int32{1, 2, 4}

// restarts is how often a pod that failed is started again. The pauses between rise to six minutes
// (the Job controller's), so that a cluster may refuse for an hour and a half. An eviction does not count.
const restarts = 20

//go:embed rbac/namespace.yaml
var namespaceRole []byte

//go:embed rbac/devices.yaml
var devicesRole []byte

//go:embed rbac/jobset.yaml
var jobSetRole []byte

// labels are those of all objects of a detached run.
func (d *Detached) labels() map[string]string {
	return map[string]string{
		"app.kubernetes.io/name": "dlx", "app.kubernetes.io/component": "run", "app.kubernetes.io/instance": label(d.run),
		labelManager: detacher, labelRun: label(d.run),
	}
}

func (d *Detached) selector() string {
	return labelManager + "=" + detacher + "," + labelRun + "=" + label(d.run)
}

func (d *Detached) meta() metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: d.Name(), Labels: d.labels(), Annotations: map[string]string{labelRun: d.run}}
}

// A Volume is what the claim of a run asks for.
type Volume struct {
	Class string // "": the cluster's default
	Size  string // a quantity, such as "5Gi"
}

// CheckSize reports what is wrong with the size of a volume.
func CheckSize(size string) error {
	_, err := resource.ParseQuantity(size)
	return err
}

// claim holds dlx, its plan and the run folder.
func (d *Detached) claim(v Volume) (*corev1.PersistentVolumeClaim, error) {
	size, err := resource.ParseQuantity(v.Size)
	if err != nil {
		return nil, err
	}
	c := &corev1.PersistentVolumeClaim{ObjectMeta: d.meta(), Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: size}},
	}}
	if v.Class != "" {
		c.Spec.StorageClassName = &v.Class
	}
	return c, nil
}

// role is that of rbac/namespace.yaml, with the rules of rbac/devices.yaml and rbac/jobset.yaml where
// they are needed.
func (d *Detached) role(jobSets bool) (*rbacv1.Role, error) {
	r := &rbacv1.Role{}
	if err := yaml.UnmarshalStrict(namespaceRole, r); err != nil {
		return nil, err
	}
	var more [][]byte
	if d.devices {
		more = append(more, devicesRole)
	}
	if jobSets {
		more = append(more, jobSetRole)
	}
	for _, text := range more {
		add := &rbacv1.Role{}
		if err := yaml.UnmarshalStrict(text, add); err != nil {
			return nil, err
		}
		r.Rules = append(r.Rules, add.Rules...)
	}
	r.ObjectMeta = d.meta()
	return r, nil
}

func (d *Detached) binding() *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{ObjectMeta: d.meta(),
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: d.Name()},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: d.Name(), Namespace: d.c.ns}},
	}
}

// job is that of dlx itself, run by words.
func (d *Detached) job(words []string) *batchv1.Job {
	spot := &spot{pod: d.pod}
	spot.pod.Scratch.Claim = d.Name()
	spec := podSpec(spot)
	spec.AutomountServiceAccountToken = ptr.To(true)
	spec.ServiceAccountName = d.Name()
	spec.RestartPolicy = corev1.RestartPolicyNever
	c := &spec.Containers[0]
	c.Name = "dlx"
	for _, w := range words {
		c.Command = append(c.Command, literal(w))
	}
	c.WorkingDir = DetachedHome
	c.Env = []corev1.EnvVar{{Name: "HOME", Value: DetachedHome}} // no kubeconfig of the image's
	c.TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
	c.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("256Mi")}
	pod := metav1.ObjectMeta{Labels: d.labels(), Annotations: maps.Clone(d.meta().Annotations)}
	pod.Annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] = "false"
	return &batchv1.Job{ObjectMeta: d.meta(), Spec: batchv1.JobSpec{
		BackoffLimit:         ptr.To(int32(restarts)),
		PodReplacementPolicy: ptr.To(batchv1.Failed), // never two in one run folder
		PodFailurePolicy: &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{
			{Action: batchv1.PodFailurePolicyActionIgnore, OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{
				{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}}},
			{Action: batchv1.PodFailurePolicyActionFailJob, OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{
				ContainerName: ptr.To(c.Name), Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: finalCodes}},
		}},
		Template: corev1.PodTemplateSpec{ObjectMeta: pod, Spec: spec},
	}}
}
