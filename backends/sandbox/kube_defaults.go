package sandbox

import (
	"maps"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// Names of the labels and annotations of indexed Jobs.
const (
	indexKey      = batchv1.JobCompletionIndexAnnotation
	trackingKey   = batchv1.JobTrackingFinalizer
	controllerUID = batchv1.ControllerUidLabel
	jobNameKey    = batchv1.JobNameLabel
)

// prepare fills in what the API server fills in, at every writing. The caller holds k.mu.
func (k *kube) prepare(o object) {
	switch o := o.(type) {
	case *corev1.Namespace:
		if o.Labels == nil {
			o.Labels = map[string]string{}
		}
		o.Labels[corev1.LabelMetadataName] = o.Name
		if o.DeletionTimestamp == nil {
			o.Spec.Finalizers, o.Status.Phase = []corev1.FinalizerName{corev1.FinalizerKubernetes}, corev1.NamespaceActive
		}
	case *corev1.Pod:
		podDefaults(&o.Spec)
		if o.Status.Phase == "" {
			o.Status.Phase, o.Status.QOSClass = corev1.PodPending, qosClass(&o.Spec)
		}
		if o.Spec.Tolerations == nil || o.Generation == 1 && o.Spec.NodeName == "" {
			addDefaultTolerations(&o.Spec)
		}
	case *batchv1.Job:
		jobDefaults(o)
	case *corev1.Service:
		serviceDefaults(o)
	case *corev1.LimitRange:
		limitRangeDefaults(o)
	case *corev1.PersistentVolumeClaim:
		if o.Status.Phase == "" {
			o.Status.Phase = corev1.ClaimPending
		}
	}
}

func podDefaults(s *corev1.PodSpec) {
	set := func(p *string, v string) {
		if *p == "" {
			*p = v
		}
	}
	set((*string)(&s.RestartPolicy), string(corev1.RestartPolicyAlways))
	set((*string)(&s.DNSPolicy), string(corev1.DNSClusterFirst))
	set(&s.SchedulerName, corev1.DefaultSchedulerName)
	set(&s.ServiceAccountName, "default")
	s.DeprecatedServiceAccount = s.ServiceAccountName
	if s.TerminationGracePeriodSeconds == nil {
		s.TerminationGracePeriodSeconds = ptr.To[int64](corev1.DefaultTerminationGracePeriodSeconds)
	}
	if s.SecurityContext == nil {
		s.SecurityContext = &corev1.PodSecurityContext{}
	}
	if s.EnableServiceLinks == nil {
		s.EnableServiceLinks = ptr.To(true)
	}
	for _, list := range [][]corev1.Container{s.InitContainers, s.Containers} {
		for i := range list {
			c := &list[i]
			set(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
			set((*string)(&c.TerminationMessagePolicy), string(corev1.TerminationMessageReadFile))
			if c.ImagePullPolicy == "" {
				c.ImagePullPolicy = corev1.PullIfNotPresent
				if _, tag, ok := strings.Cut(c.Image[strings.LastIndex(c.Image, "/")+1:], ":"); !ok || tag == "latest" {
					c.ImagePullPolicy = corev1.PullAlways
				}
			}
			for name, q := range c.Resources.Limits {
				if _, ok := c.Resources.Requests[name]; !ok {
					if c.Resources.Requests == nil {
						c.Resources.Requests = corev1.ResourceList{}
					}
					c.Resources.Requests[name] = q
				}
			}
		}
	}
}

// addDefaultTolerations does what the admission plugin of that name does: a node that is lost is
// borne for five minutes.
func addDefaultTolerations(s *corev1.PodSpec) {
	for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		t := corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To[int64](300)}
		there := false
		for _, o := range s.Tolerations {
			there = there || o.Key == key || o.Key == "" && o.Operator == corev1.TolerationOpExists
		}
		if !there {
			s.Tolerations = append(s.Tolerations, t)
		}
	}
}

func qosClass(s *corev1.PodSpec) corev1.PodQOSClass {
	best, guaranteed := true, true
	for i := range s.Containers {
		r := s.Containers[i].Resources
		for _, n := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			l, hasLimit := r.Limits[n]
			q, hasRequest := r.Requests[n]
			best = best && !hasLimit && !hasRequest
			guaranteed = guaranteed && hasLimit && l.Cmp(q) == 0
		}
	}
	switch {
	case best:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

func jobDefaults(o *batchv1.Job) {
	s := &o.Spec
	if s.Completions == nil && s.Parallelism == nil {
		s.Completions = ptr.To[int32](1)
	}
	if s.Parallelism == nil {
		s.Parallelism = ptr.To[int32](1)
	}
	if s.BackoffLimit == nil {
		s.BackoffLimit = ptr.To[int32](6)
		if s.BackoffLimitPerIndex != nil {
			s.BackoffLimit = ptr.To[int32](1<<31 - 1)
		}
	}
	if s.CompletionMode == nil {
		s.CompletionMode = ptr.To(batchv1.NonIndexedCompletion)
	}
	if s.Suspend == nil {
		s.Suspend = ptr.To(false)
	}
	if s.ManualSelector == nil {
		s.ManualSelector = ptr.To(false)
	}
	if s.PodReplacementPolicy == nil {
		s.PodReplacementPolicy = ptr.To(batchv1.TerminatingOrFailed)
		if s.PodFailurePolicy != nil {
			s.PodReplacementPolicy = ptr.To(batchv1.Failed)
		}
	}
	// The template itself has no defaults of admission, but restartPolicy is kept as it came: the
	// API server says that it is wrong rather than defaulting it.
	policy := s.Template.Spec.RestartPolicy
	podDefaults(&s.Template.Spec)
	s.Template.Spec.RestartPolicy = policy
	if policy == "" {
		s.Template.Spec.RestartPolicy = corev1.RestartPolicyAlways
	}
	if s.Selector == nil && !*s.ManualSelector {
		l := map[string]string{controllerUID: string(o.UID)}
		s.Selector = &metav1.LabelSelector{MatchLabels: l}
		if s.Template.Labels == nil {
			s.Template.Labels = map[string]string{}
		}
		maps.Copy(s.Template.Labels, l)
		s.Template.Labels["controller-uid"], s.Template.Labels["job-name"], s.Template.Labels[jobNameKey] = string(o.UID), o.Name, o.Name
	}
}

func serviceDefaults(o *corev1.Service) {
	s := &o.Spec
	if s.Type == "" {
		s.Type = corev1.ServiceTypeClusterIP
	}
	if s.SessionAffinity == "" {
		s.SessionAffinity = corev1.ServiceAffinityNone
	}
	if s.ClusterIP == "" {
		s.ClusterIP = "10.96.0.10" // of no use: the sandbox forwards nothing
	}
	s.ClusterIPs, s.IPFamilies = []string{s.ClusterIP}, []corev1.IPFamily{corev1.IPv4Protocol}
	if s.IPFamilyPolicy == nil {
		s.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicySingleStack)
	}
	if s.InternalTrafficPolicy == nil {
		s.InternalTrafficPolicy = ptr.To(corev1.ServiceInternalTrafficPolicyCluster)
	}
	for i := range s.Ports {
		p := &s.Ports[i]
		if p.Protocol == "" {
			p.Protocol = corev1.ProtocolTCP
		}
		if p.TargetPort.String() == "0" {
			p.TargetPort.IntVal = p.Port
		}
	}
}
