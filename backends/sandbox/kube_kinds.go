package sandbox

import (
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// object is anything the API server keeps. A stored object is never changed: whoever wants it
// otherwise puts a changed copy.
type object interface {
	metav1.Object
	runtime.Object
}

// kind is one kind of object that the API server serves.
type kind struct {
	group, version string
	resource, kind string
	short          []string
	all            bool // in kubectl's category of that name
	cluster        bool // not in a namespace
	status         bool // its status is written through the subresource only
	make           func() object
}

// The kinds that are served.
var (
	namespaces  = &kind{version: "v1", resource: "namespaces", kind: "Namespace", short: []string{"ns"}, cluster: true, status: true, make: func() object { return &corev1.Namespace{} }}
	nodes       = &kind{version: "v1", resource: "nodes", kind: "Node", short: []string{"no"}, cluster: true, status: true, make: func() object { return &corev1.Node{} }}
	pods        = &kind{version: "v1", resource: "pods", kind: "Pod", short: []string{"po"}, all: true, status: true, make: func() object { return &corev1.Pod{} }}
	services    = &kind{version: "v1", resource: "services", kind: "Service", short: []string{"svc"}, all: true, status: true, make: func() object { return &corev1.Service{} }}
	configMaps  = &kind{version: "v1", resource: "configmaps", kind: "ConfigMap", short: []string{"cm"}, make: func() object { return &corev1.ConfigMap{} }}
	secrets     = &kind{version: "v1", resource: "secrets", kind: "Secret", make: func() object { return &corev1.Secret{} }}
	accounts    = &kind{version: "v1", resource: "serviceaccounts", kind: "ServiceAccount", short: []string{"sa"}, make: func() object { return &corev1.ServiceAccount{} }}
	events      = &kind{version: "v1", resource: "events", kind: "Event", short: []string{"ev"}, make: func() object { return &corev1.Event{} }}
	quotas      = &kind{version: "v1", resource: "resourcequotas", kind: "ResourceQuota", short: []string{"quota"}, status: true, make: func() object { return &corev1.ResourceQuota{} }}
	limitRanges = &kind{version: "v1", resource: "limitranges", kind: "LimitRange", short: []string{"limits"}, make: func() object { return &corev1.LimitRange{} }}
	claims      = &kind{version: "v1", resource: "persistentvolumeclaims", kind: "PersistentVolumeClaim", short: []string{"pvc"}, status: true, make: func() object { return &corev1.PersistentVolumeClaim{} }}
	jobs        = &kind{group: "batch", version: "v1", resource: "jobs", kind: "Job", all: true, status: true, make: func() object { return &batchv1.Job{} }}

	roles               = &kind{group: rbacv1.GroupName, version: "v1", resource: "roles", kind: "Role", make: func() object { return &rbacv1.Role{} }}
	roleBindings        = &kind{group: rbacv1.GroupName, version: "v1", resource: "rolebindings", kind: "RoleBinding", make: func() object { return &rbacv1.RoleBinding{} }}
	clusterRoles        = &kind{group: rbacv1.GroupName, version: "v1", resource: "clusterroles", kind: "ClusterRole", cluster: true, make: func() object { return &rbacv1.ClusterRole{} }}
	clusterRoleBindings = &kind{group: rbacv1.GroupName, version: "v1", resource: "clusterrolebindings", kind: "ClusterRoleBinding", cluster: true, make: func() object { return &rbacv1.ClusterRoleBinding{} }}

	kinds = []*kind{namespaces, nodes, pods, services, configMaps, secrets, accounts, events, quotas, limitRanges, claims, jobs, roles, roleBindings, clusterRoles, clusterRoleBindings}
)

func kindOf(group, version, resource string) *kind {
	for _, kd := range kinds {
		if kd.group == group && kd.version == version && kd.resource == resource {
			return kd
		}
	}
	return nil
}

// kindNamed finds the kind that an owner reference names.
func kindNamed(apiVersion, name string) *kind {
	for _, kd := range kinds {
		if kd.kind == name && kd.apiVersion() == apiVersion {
			return kd
		}
	}
	return nil
}

func (kd *kind) apiVersion() string {
	return schema.GroupVersion{Group: kd.group, Version: kd.version}.String()
}

func (kd *kind) gr() schema.GroupResource {
	return schema.GroupResource{Group: kd.group, Resource: kd.resource}
}

func (kd *kind) gk() schema.GroupKind { return schema.GroupKind{Group: kd.group, Kind: kd.kind} }

// head is what precedes the fields of an object that is sent alone.
func (kd *kind) head() string {
	return `{"kind":"` + kd.kind + `","apiVersion":"` + kd.apiVersion() + `",`
}

// resourceList is the discovery of a group's version.
func resourceList(group, version string) metav1.APIResourceList {
	gv := schema.GroupVersion{Group: group, Version: version}.String()
	out := metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: gv, APIResources: []metav1.APIResource{}}
	for _, kd := range kinds {
		if kd.group != group || kd.version != version {
			continue
		}
		var categories []string
		if kd.all {
			categories = []string{"all"}
		}
		out.APIResources = append(out.APIResources, metav1.APIResource{Name: kd.resource, SingularName: strings.ToLower(kd.kind), Categories: categories, Namespaced: !kd.cluster, Kind: kd.kind,
			Verbs: []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}, ShortNames: slices.Clone(kd.short)})
		if kd.status {
			out.APIResources = append(out.APIResources, metav1.APIResource{Name: kd.resource + "/status", Namespaced: !kd.cluster, Kind: kd.kind,
				Verbs: []string{"get", "patch", "update"}})
		}
	}
	if group == "" {
		out.APIResources = append(out.APIResources,
			metav1.APIResource{Name: "pods/log", Namespaced: true, Kind: "Pod", Verbs: []string{"get"}},
			metav1.APIResource{Name: "serviceaccounts/token", Namespaced: true, Group: "authentication.k8s.io", Version: "v1", Kind: "TokenRequest", Verbs: []string{"create"}},
			metav1.APIResource{Name: "pods/eviction", Namespaced: true, Group: "policy", Version: "v1", Kind: "Eviction", Verbs: []string{"create"}},
			metav1.APIResource{Name: "pods/exec", Namespaced: true, Kind: "PodExecOptions", Verbs: []string{"create", "get"}})
	}
	return out
}
