package sandbox

import (
	"net/http"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// groupVersions are the served ones, each once, in the order of kinds.
func groupVersions() []metav1.GroupVersionKind {
	var out []metav1.GroupVersionKind
	for _, kd := range kinds {
		gv := metav1.GroupVersionKind{Group: kd.group, Version: kd.version}
		if !slices.Contains(out, gv) {
			out = append(out, gv)
		}
	}
	return out
}

// apiPath is where a group's version is served, without a slash before it.
func apiPath(group, version string) string {
	if group == "" {
		return "api/" + version
	}
	return "apis/" + group + "/" + version
}

// openapi serves what kubectl asks before it sends an object: whether the server checks fields
// itself (fieldValidation), as this one does. Schemas are not served.
func (c *call) openapi(p string) bool {
	if p == "openapi/v3" {
		paths := map[string]any{}
		for _, gv := range groupVersions() {
			at := apiPath(gv.Group, gv.Version)
			paths[at] = map[string]any{"serverRelativeURL": "/openapi/v3/" + at}
		}
		c.send(http.StatusOK, map[string]any{"paths": paths})
		return true
	}
	for _, gv := range groupVersions() {
		if p == "openapi/v3/"+apiPath(gv.Group, gv.Version) {
			c.send(http.StatusOK, openapiOf(gv.Group, gv.Version))
			return true
		}
	}
	return false
}

func openapiOf(group, version string) map[string]any {
	paths := map[string]any{}
	for _, kd := range kinds {
		if kd.group != group || kd.version != version {
			continue
		}
		at := "/" + apiPath(group, version)
		if !kd.cluster {
			at += "/namespaces/{namespace}"
		}
		op := func(action string) map[string]any {
			return map[string]any{
				"operationId":                     action + kd.kind,
				"parameters":                      []any{map[string]any{"name": "fieldValidation", "in": "query", "schema": map[string]any{"type": "string"}}},
				"responses":                       map[string]any{"200": map[string]any{"description": "OK"}},
				"x-kubernetes-action":             action,
				"x-kubernetes-group-version-kind": map[string]any{"group": group, "version": version, "kind": kd.kind},
			}
		}
		paths[at+"/"+kd.resource] = map[string]any{"post": op("post")}
		paths[at+"/"+kd.resource+"/{name}"] = map[string]any{"put": op("put"), "patch": op("patch")}
	}
	return map[string]any{"openapi": "3.0.0", "info": map[string]any{"title": "Kubernetes", "version": kubeVersion}, "paths": paths,
		"components": map[string]any{"schemas": map[string]any{}}}
}

// unserved says what is not here. kubectl shows the text.
func (c *call) unserved() {
	c.fail(statusError(http.StatusNotFound, metav1.StatusReasonNotFound, "the sandbox does not serve "+c.r.Method+" "+c.r.URL.Path))
}

// reviews are what a client may ask about itself; the group they are in.
var reviews = map[string]struct{ group, kind string }{
	"selfsubjectaccessreviews": {"authorization.k8s.io", "SelfSubjectAccessReview"},
	"selfsubjectrulesreviews":  {"authorization.k8s.io", "SelfSubjectRulesReview"},
	"selfsubjectreviews":       {"authentication.k8s.io", "SelfSubjectReview"},
}

// reviewGroups are the groups of reviews.
var reviewGroups = []string{"authentication.k8s.io", "authorization.k8s.io"}

// discoverReviews is the discovery of a group of reviews.
func (c *call) discoverReviews(p string) bool {
	for _, group := range reviewGroups {
		if p != apiPath(group, "v1") {
			continue
		}
		list := metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: group + "/v1"}
		for name, r := range reviews {
			if r.group == group {
				list.APIResources = append(list.APIResources, metav1.APIResource{Name: name, SingularName: strings.ToLower(r.kind), Kind: r.kind, Verbs: []string{"create"}})
			}
		}
		slices.SortFunc(list.APIResources, func(a, b metav1.APIResource) int { return strings.Compare(a.Name, b.Name) })
		c.send(http.StatusOK, list)
		return true
	}
	return false
}
