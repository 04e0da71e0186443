package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"
)

// kubeVersion is the release whose texts and behaviour the sandbox follows.
const kubeVersion = "v1.37.2"

// bodyLimit is the API server's limit for a request's body.
const bodyLimit = 3145728

// call is one request of the API, taken apart.
type call struct {
	w         http.ResponseWriter
	r         *http.Request
	k         *kube
	kind      *kind
	namespace string
	name      string
	sub       string
	verb      string // create, get, list, watch, update, patch, delete, deletecollection
	user      string
	groups    []string
	body      []byte
}

// serve is the way of every request of a cluster's API: latency, faults, who, what, then the verb.
func (k *kube) serve(w http.ResponseWriter, r *http.Request) {
	k.s.cfg.Log("sandbox: %s: %s %s", k.c.Name, r.Method, r.URL)
	time.Sleep(k.s.cfg.Latency)
	method := r.Method
	if watching(r) {
		method = "WATCH"
	}
	if f := k.s.cfg.Faults.request(method, r.URL.Path); f != nil && !k.suffer(f, w, r) {
		return
	}
	k.answer(w, r)
}

// suffer lets a request meet a fault, and reports whether it is to be served after all.
func (k *kube) suffer(f *rule, w http.ResponseWriter, r *http.Request) bool {
	if f.delay > 0 {
		return k.sleep(r.Context(), f.delay)
	}
	if f.hangup {
		k.answer(&discard{header: http.Header{}}, r)
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json")
	for name, v := range f.header {
		w.Header()[name] = v
	}
	w.WriteHeader(f.status)
	_, _ = w.Write([]byte(f.body))
	return false
}

func (k *kube) answer(w http.ResponseWriter, r *http.Request) {
	c := &call{w: w, r: r, k: k}
	var groups []string
	if c.user, groups = k.identity(r.TLS); c.user == "" {
		c.user, groups = k.bearer(r.Header.Get("Authorization"))
	}
	if c.user == "" {
		c.fail(apierrors.NewUnauthorized("Unauthorized"))
		return
	}
	c.groups = groups
	p := strings.Trim(r.URL.Path, "/")
	if c.split(p) {
		if !c.may(groups) {
			c.fail(c.forbidden())
			return
		}
		c.run(r.Context())
		return
	}
	if !slices.Contains(groups, masters) && p != "version" && p != "healthz" && p != "readyz" && p != "livez" {
		c.fail(statusError(http.StatusForbidden, metav1.StatusReasonForbidden, fmt.Sprintf("forbidden: User %q cannot %s path %q", c.user, strings.ToLower(r.Method), r.URL.Path)))
		return
	}
	c.discover(p)
}

// split takes a path of a resource apart.
func (c *call) split(p string) bool {
	parts := strings.Split(p, "/")
	group, ver := "", ""
	switch {
	case len(parts) > 2 && parts[0] == "api":
		ver, parts = parts[1], parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		group, ver, parts = parts[1], parts[2], parts[3:]
	default:
		return false
	}
	if parts[0] == "namespaces" && len(parts) > 2 && kindOf(group, ver, parts[2]) != nil {
		c.namespace, parts = parts[1], parts[2:]
	}
	if c.kind = kindOf(group, ver, parts[0]); c.kind == nil || len(parts) > 3 {
		return false
	}
	if len(parts) > 1 {
		c.name = parts[1]
	}
	if len(parts) > 2 {
		c.sub = parts[2]
	}
	switch c.r.Method {
	case http.MethodGet, http.MethodHead:
		switch {
		case c.name != "":
			c.verb = "get"
		case watching(c.r):
			c.verb = "watch"
		default:
			c.verb = "list"
		}
	case http.MethodPost:
		c.verb = "create"
	case http.MethodPut:
		c.verb = "update"
	case http.MethodPatch:
		c.verb = "patch"
	case http.MethodDelete:
		c.verb = "delete"
		if c.name == "" {
			c.verb = "deletecollection"
		}
	}
	return true
}

func watching(r *http.Request) bool {
	w := r.URL.Query().Get("watch")
	return r.Method == http.MethodGet && (w == "true" || w == "1")
}

// forbidden is what a user without a role hears.
func (c *call) forbidden() *apierrors.StatusError {
	res := c.kind.resource
	if c.sub != "" {
		res += "/" + c.sub
	}
	where := " at the cluster scope"
	if c.namespace != "" {
		where = fmt.Sprintf(" in the namespace %q", c.namespace)
	}
	return apierrors.NewForbidden(c.kind.gr(), c.name, fmt.Errorf("User %q cannot %s resource %q in API group %q%s", c.user, c.verb, res, c.kind.group, where)) //nolint:staticcheck // the API server's own words
}

// read takes the body, which must be JSON of a size that the server takes.
func (c *call) read() *apierrors.StatusError {
	b, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, bodyLimit))
	if err != nil {
		return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", bodyLimit))
	}
	c.body = b
	media, _, _ := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	switch {
	case c.verb == "patch" || len(b) == 0 || media == "application/json" || media == "":
	case media == protobufMedia:
		if c.body, err = fromProtobuf(b); err != nil {
			return apierrors.NewBadRequest(err.Error())
		}
	default:
		return statusError(http.StatusUnsupportedMediaType, metav1.StatusReasonUnsupportedMediaType,
			"the body of the request was in an unknown format - accepted media types include: application/json")
	}
	return nil
}

// statusError is an error that has no maker of its own.
func statusError(code int32, reason metav1.StatusReason, message string) *apierrors.StatusError {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: code, Reason: reason, Message: message}}
}

// fail answers with an error as the API server does.
func (c *call) fail(err *apierrors.StatusError) {
	st := err.ErrStatus
	st.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	if d := st.Details; d != nil && d.RetryAfterSeconds > 0 {
		c.w.Header().Set("Retry-After", fmt.Sprint(d.RetryAfterSeconds))
	}
	c.send(int(st.Code), st)
}

func (c *call) send(code int, body any) {
	c.w.Header().Set("Content-Type", "application/json")
	b, err := json.Marshal(body)
	if err != nil {
		code, b = http.StatusInternalServerError, []byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","code":500}`)
	}
	c.w.WriteHeader(code)
	_, _ = c.w.Write(b)
}

// sendRaw answers with a stored object.
func (c *call) sendRaw(code int, kd *kind, raw []byte) {
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(code)
	_, _ = c.w.Write(whole(kd, raw))
}

// whole puts kind and version before an object's fields.
func whole(kd *kind, raw []byte) []byte {
	return append([]byte(kd.head()), bytes.TrimPrefix(raw, []byte("{"))...)
}

// discover serves what is no object: versions, groups, health.
func (c *call) discover(p string) {
	switch p {
	case "version":
		c.send(http.StatusOK, version.Info{Major: "1", Minor: "37", GitVersion: kubeVersion, GoVersion: runtime.Version(), Compiler: runtime.Compiler, Platform: runtime.GOOS + "/" + runtime.GOARCH})
	case "healthz", "readyz", "livez":
		c.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(c.w, "ok")
	case "api":
		c.send(http.StatusOK, metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}})
	case "apis":
		list := metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
		for _, group := range append([]string{"batch", rbacv1.GroupName}, reviewGroups...) {
			gv := metav1.GroupVersionForDiscovery{GroupVersion: group + "/v1", Version: "v1"}
			list.Groups = append(list.Groups, metav1.APIGroup{Name: group, Versions: []metav1.GroupVersionForDiscovery{gv}, PreferredVersion: gv})
		}
		c.send(http.StatusOK, list)
	case "api/v1":
		c.send(http.StatusOK, resourceList("", "v1"))
	case "apis/batch/v1":
		c.send(http.StatusOK, resourceList("batch", "v1"))
	case "apis/" + rbacv1.GroupName + "/v1":
		c.send(http.StatusOK, resourceList(rbacv1.GroupName, "v1"))
	default:
		if !c.openapi(p) && !c.discoverReviews(p) && !c.review(p) {
			c.unserved()
		}
	}
}
