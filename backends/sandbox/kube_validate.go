package sandbox

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// maxConfig is the most that a ConfigMap or Secret may hold.
const maxConfig = 1 << 20

// invalid says what the API server would not take of an object; old is nil for a new one. The
// sandbox checks what simple clients get wrong, not everything.
func invalid(o, old object) field.ErrorList {
	var list field.ErrorList
	meta := field.NewPath("metadata")
	check := validation.IsDNS1123Subdomain
	switch o.(type) {
	case *corev1.Service:
		check = validation.IsDNS1035Label
	case *corev1.Namespace:
		check = validation.IsDNS1123Label
	case *rbacv1.Role, *rbacv1.RoleBinding, *rbacv1.ClusterRole, *rbacv1.ClusterRoleBinding:
		check = content.IsPathSegmentName
	}
	if o.GetName() == "" {
		list = append(list, field.Required(meta.Child("name"), "name or generateName is required"))
	} else {
		for _, why := range check(o.GetName()) {
			list = append(list, field.Invalid(meta.Child("name"), o.GetName(), why))
		}
	}
	list = append(list, invalidLabels(o.GetLabels(), meta.Child("labels"))...)
	for i, ref := range o.GetOwnerReferences() {
		if ref.UID == "" {
			list = append(list, field.Required(meta.Child("ownerReferences").Index(i).Child("uid"), "must not be empty"))
		}
	}
	switch o := o.(type) {
	case *corev1.Pod:
		before, _ := old.(*corev1.Pod)
		list = append(list, invalidPod(o, before)...)
	case *batchv1.Job:
		before, _ := old.(*batchv1.Job)
		list = append(list, invalidJob(o, before)...)
	case *corev1.Namespace:
		_, wrong := securityOf(o)
		list = append(list, wrong...)
	case *corev1.ConfigMap:
		size := 0
		for _, v := range o.Data {
			size += len(v)
		}
		for _, v := range o.BinaryData {
			size += len(v)
		}
		if size > maxConfig {
			list = append(list, field.TooLong(field.NewPath(""), "", maxConfig))
		}
		before, _ := old.(*corev1.ConfigMap)
		if before != nil && before.Immutable != nil && *before.Immutable && (!equality.Semantic.DeepEqual(before.Data, o.Data) || !equality.Semantic.DeepEqual(before.BinaryData, o.BinaryData)) {
			list = append(list, field.Forbidden(field.NewPath("data"), "field is immutable when `immutable` is set"))
		}
	}
	return list
}

func invalidLabels(labels map[string]string, at *field.Path) field.ErrorList {
	var list field.ErrorList
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		for _, why := range validation.IsQualifiedName(name) {
			list = append(list, field.Invalid(at, name, why))
		}
		for _, why := range validation.IsValidLabelValue(labels[name]) {
			list = append(list, field.Invalid(at, labels[name], why))
		}
	}
	return list
}

func invalidPod(o, old *corev1.Pod) field.ErrorList {
	at := field.NewPath("spec")
	list := invalidPodSpec(&o.Spec, at)
	if old != nil {
		// What may change: images, tolerations, the deadline. The sandbox looks at what it uses.
		a, b := old.Spec.DeepCopy(), o.Spec.DeepCopy()
		a.Tolerations, a.ActiveDeadlineSeconds, a.TerminationGracePeriodSeconds = b.Tolerations, b.ActiveDeadlineSeconds, b.TerminationGracePeriodSeconds
		for i := range a.Containers {
			if i < len(b.Containers) {
				a.Containers[i].Image = b.Containers[i].Image
			}
		}
		if gated := len(old.Spec.SchedulingGates); gated > 0 { // it may still be told where to go
			if n := len(b.SchedulingGates); n < gated {
				a.SchedulingGates = b.SchedulingGates
			}
			if a.Affinity == nil || a.Affinity.NodeAffinity == nil {
				a.Affinity = placed(a.Affinity, b.Affinity)
			}
		}
		if !equality.Semantic.DeepEqual(a, b) {
			list = append(list, field.Forbidden(at, "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"+
				"`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"))
		}
	}
	return list
}

// placed is an affinity with the node affinity of another.
func placed(a, b *corev1.Affinity) *corev1.Affinity {
	if b == nil || b.NodeAffinity == nil {
		return a
	}
	if a == nil {
		a = &corev1.Affinity{}
	}
	a.NodeAffinity = b.NodeAffinity
	return a
}

func invalidPodSpec(s *corev1.PodSpec, at *field.Path) field.ErrorList {
	var list field.ErrorList
	if len(s.Containers) == 0 {
		list = append(list, field.Required(at.Child("containers"), ""))
	}
	if s.Hostname != "" {
		for _, why := range validation.IsDNS1123Label(s.Hostname) {
			list = append(list, field.Invalid(at.Child("hostname"), s.Hostname, why))
		}
	}
	volumes := map[string]bool{}
	for i := range s.Volumes {
		if volumes[s.Volumes[i].Name] {
			list = append(list, field.Duplicate(at.Child("volumes").Index(i).Child("name"), s.Volumes[i].Name))
		}
		volumes[s.Volumes[i].Name] = true
	}
	names := map[string]bool{}
	for _, part := range []struct {
		at   *field.Path
		list []corev1.Container
	}{{at.Child("initContainers"), s.InitContainers}, {at.Child("containers"), s.Containers}} {
		for i := range part.list {
			c, p := &part.list[i], part.at.Index(i)
			switch {
			case c.Name == "":
				list = append(list, field.Required(p.Child("name"), ""))
			case names[c.Name]:
				list = append(list, field.Duplicate(p.Child("name"), c.Name))
			default:
				for _, why := range validation.IsDNS1123Label(c.Name) {
					list = append(list, field.Invalid(p.Child("name"), c.Name, why))
				}
			}
			names[c.Name] = true
			if c.Image == "" {
				list = append(list, field.Required(p.Child("image"), ""))
			}
			for j, m := range c.VolumeMounts {
				if !volumes[m.Name] {
					list = append(list, field.NotFound(p.Child("volumeMounts").Index(j).Child("name"), m.Name))
				}
				if m.MountPath == "" {
					list = append(list, field.Required(p.Child("volumeMounts").Index(j).Child("mountPath"), ""))
				}
			}
			list = append(list, invalidResources(&c.Resources, p.Child("resources"))...)
		}
	}
	return list
}

// invalidResources checks extended resources: whole numbers, and a limit that equals the request.
func invalidResources(r *corev1.ResourceRequirements, at *field.Path) field.ErrorList {
	var list field.ErrorList
	for _, part := range []struct {
		name string
		list corev1.ResourceList
	}{{"limits", r.Limits}, {"requests", r.Requests}} {
		for _, n := range sortedResources(part.list) {
			q := part.list[n]
			if q.Sign() < 0 {
				list = append(list, field.Invalid(at.Child(part.name).Key(string(n)), q.String(), "must be greater than or equal to 0"))
			}
			if extended(n) && q.MilliValue()%1000 != 0 {
				list = append(list, field.Invalid(at.Child(part.name).Key(string(n)), q.String(), "must be an integer"))
			}
		}
	}
	for _, n := range sortedResources(r.Requests) {
		limit, ok := r.Limits[n]
		request := r.Requests[n]
		switch {
		case !ok && extended(n):
			list = append(list, field.Required(at.Child("limits"), "Limit must be set for non overcommitable resources"))
		case ok && extended(n) && limit.Cmp(request) != 0:
			list = append(list, field.Invalid(at.Child("requests"), request.String(), fmt.Sprintf("must be equal to %s limit of %s", n, limit.String())))
		case ok && limit.Cmp(request) < 0:
			list = append(list, field.Invalid(at.Child("requests"), request.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", n, limit.String())))
		}
	}
	return list
}

// extended reports whether a resource is one of devices: its name has a domain that is not Kubernetes' own.
func extended(n corev1.ResourceName) bool {
	return strings.Contains(string(n), "/") && !strings.Contains(string(n), "kubernetes.io/")
}

func sortedResources(l map[corev1.ResourceName]resource.Quantity) []corev1.ResourceName {
	return slices.Sorted(maps.Keys(l))
}

func invalidJob(o, old *batchv1.Job) field.ErrorList {
	at := field.NewPath("spec")
	tmpl := at.Child("template")
	var list field.ErrorList
	list = append(list, invalidLabels(o.Spec.Template.Labels, tmpl.Child("labels"))...)
	list = slices.CompactFunc(list, func(a, b *field.Error) bool { return a.Error() == b.Error() })
	if indexed(o) {
		if o.Spec.Completions == nil {
			list = append(list, field.Required(at.Child("completions"), "when completion mode is Indexed"))
		} else if last := fmt.Sprintf("%s-%d", o.Name, max(0, *o.Spec.Completions-1)); len(validation.IsDNS1123Label(last)) > 0 && o.Name != "" {
			list = append(list, field.Invalid(field.NewPath("metadata").Child("name"), o.Name, "will not able to create pod with invalid DNS label: "+last))
		}
	}
	for name, v := range map[string]*int32{"parallelism": o.Spec.Parallelism, "completions": o.Spec.Completions, "backoffLimit": o.Spec.BackoffLimit} {
		if v != nil && *v < 0 {
			list = append(list, field.Invalid(at.Child(name), *v, "must be greater than or equal to 0"))
		}
	}
	list = append(list, invalidPodSpec(&o.Spec.Template.Spec, tmpl.Child("spec"))...)
	if p := o.Spec.Template.Spec.RestartPolicy; p != corev1.RestartPolicyOnFailure && p != corev1.RestartPolicyNever {
		list = append(list, field.Required(tmpl.Child("spec", "restartPolicy"), `valid values: "OnFailure", "Never"`))
	} else if o.Spec.PodFailurePolicy != nil && p != corev1.RestartPolicyNever {
		list = append(list, field.Invalid(tmpl.Child("spec", "restartPolicy"), p, "only \"Never\" is supported when podFailurePolicy is specified"))
	}
	if old == nil {
		return list
	}
	for _, f := range []struct {
		at     *field.Path
		was, v any
	}{
		{at.Child("completionMode"), old.Spec.CompletionMode, o.Spec.CompletionMode},
		{at.Child("selector"), old.Spec.Selector, o.Spec.Selector},
		{tmpl, old.Spec.Template, o.Spec.Template},
		{at.Child("podFailurePolicy"), old.Spec.PodFailurePolicy, o.Spec.PodFailurePolicy},
		{at.Child("backoffLimitPerIndex"), old.Spec.BackoffLimitPerIndex, o.Spec.BackoffLimitPerIndex},
	} {
		suspended := old.Spec.Suspend != nil && *old.Spec.Suspend && old.Status.StartTime == nil // then the template may change
		if !equality.Semantic.DeepEqual(f.was, f.v) && (f.at != tmpl || !suspended) {
			v := f.v
			if p := reflect.ValueOf(v); p.Kind() == reflect.Pointer && !p.IsNil() {
				v = p.Elem().Interface()
			}
			list = append(list, field.Invalid(f.at, v, "field is immutable"))
		}
	}
	return list
}

func indexed(o *batchv1.Job) bool {
	return o.Spec.CompletionMode != nil && *o.Spec.CompletionMode == batchv1.IndexedCompletion
}
