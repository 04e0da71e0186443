package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kjson "k8s.io/apimachinery/pkg/util/json"
)

// run does what a request asks for.
func (c *call) run(ctx context.Context) {
	switch {
	case c.kind == pods && c.sub == "log" && c.verb == "get":
		c.podLog(ctx)
		return
	case c.kind == pods && c.sub == "exec" && (c.verb == "get" || c.verb == "create"):
		c.podExec()
		return
	case c.kind == pods && c.sub == "eviction" && c.verb == "create":
		c.evict()
		return
	case c.kind == accounts && c.sub == "token" && c.verb == "create":
		c.giveToken()
		return
	case c.sub != "" && (c.sub != "status" || !c.kind.status) && (c.sub != "finalize" || c.kind != namespaces):
		c.unserved()
		return
	}
	if err := c.read(); err != nil {
		c.fail(err)
		return
	}
	var err *apierrors.StatusError
	switch c.verb {
	case "get":
		err = c.get()
	case "list":
		err = c.list(ctx)
	case "watch":
		err = c.watch(ctx)
	case "create":
		err = c.create()
	case "update", "patch":
		if c.applies() && c.sub == "" {
			err = c.apply()
		} else {
			err = c.change()
		}
	case "delete":
		err = c.delete()
	case "deletecollection":
		err = c.deleteAll(ctx)
	default:
		err = apierrors.NewMethodNotSupported(c.kind.gr(), c.r.Method)
	}
	if err != nil {
		c.fail(err)
	}
}

func (c *call) get() *apierrors.StatusError {
	c.k.mu.Lock()
	r := c.k.st.objects[c.kind][key(c.namespace, c.name)]
	c.k.mu.Unlock()
	if r == nil {
		return apierrors.NewNotFound(c.kind.gr(), c.name)
	}
	if c.tabular() {
		c.sendTable([]*record{r}, r.rv)
		return nil
	}
	c.sendRaw(http.StatusOK, c.kind, r.raw)
	return nil
}

// list gives everything at once: a limit is not kept to, which the API allows as long as there is
// no continue token.
func (c *call) list(ctx context.Context) *apierrors.StatusError {
	sel, err := c.selector()
	if err != nil {
		return err
	}
	if err := c.fresh(ctx, c.r.URL.Query().Get("resourceVersion")); err != nil {
		return err
	}
	c.k.mu.Lock()
	rv := c.k.st.rv
	all := c.k.st.list(c.kind, c.namespace)
	c.k.mu.Unlock()
	all = slices.DeleteFunc(all, func(r *record) bool { return !sel.fits(r.obj) })
	if c.tabular() {
		c.sendTable(all, rv)
		return nil
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"kind":"%sList","apiVersion":%q,"metadata":{"resourceVersion":"%d"},"items":[`, c.kind.kind, c.kind.apiVersion(), rv)
	for i, r := range all {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(r.raw)
	}
	b.WriteString("]}")
	c.w.Header().Set("Content-Type", "application/json")
	_, _ = c.w.Write(b.Bytes())
	return nil
}

// decode reads an object of the request's kind.
func (c *call) decode(b []byte) (object, *apierrors.StatusError) {
	var tm metav1.TypeMeta
	if err := json.Unmarshal(b, &tm); err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized (must be of type %s): couldn't get version/kind; json parse error: %v (%s)",
			c.kind.kind, err, abbreviate(string(b))))
	}
	if tm.Kind != "" && tm.Kind != c.kind.kind || tm.APIVersion != "" && tm.APIVersion != c.kind.apiVersion() {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: no kind %q is registered for version %q",
			tm.Kind, tm.APIVersion, c.kind.kind, tm.Kind, tm.APIVersion))
	}
	o := c.kind.make()
	if err := kjson.Unmarshal(b, o); err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", c.kind.kind, c.kind.version, c.kind.kind, err))
	}
	if c.r.URL.Query().Get("fieldValidation") == metav1.FieldValidationStrict {
		strict := json.NewDecoder(bytes.NewReader(b))
		strict.DisallowUnknownFields()
		if err := strict.Decode(c.kind.make()); err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: strict decoding error: %s",
				c.kind.kind, c.kind.version, c.kind.kind, strings.TrimPrefix(err.Error(), "json: ")))
		}
	}
	return o, nil
}

func abbreviate(s string) string {
	if len(s) > 60 {
		return s[:60] + " ..."
	}
	return s
}

func (c *call) dry() bool { return len(c.r.URL.Query()["dryRun"]) > 0 }

func (c *call) create() *apierrors.StatusError {
	o, err := c.decode(c.body)
	if err != nil {
		return err
	}
	if c.name != "" {
		return apierrors.NewMethodNotSupported(c.kind.gr(), c.r.Method)
	}
	if !c.kind.cluster {
		if o.GetNamespace() != "" && o.GetNamespace() != c.namespace {
			return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
		}
		o.SetNamespace(c.namespace)
	}
	if o.GetResourceVersion() != "" {
		return apierrors.NewBadRequest("resourceVersion should not be set on objects to be created")
	}
	c.k.mu.Lock()
	if err = c.k.create(c.kind, o, c.dry()); err != nil {
		c.k.mu.Unlock()
		return err
	}
	raw, e := json.Marshal(bare(o))
	c.k.mu.Unlock()
	if e != nil {
		return apierrors.NewInternalError(e)
	}
	c.sendRaw(http.StatusCreated, c.kind, raw)
	return nil
}

// create admits and stores a new object. The caller holds k.mu.
func (k *kube) create(kd *kind, o object, dry bool) *apierrors.StatusError {
	if o.GetName() == "" && o.GetGenerateName() != "" {
		base := o.GetGenerateName()
		o.SetName(base[:min(len(base), 58)] + suffix()) // 63 less the suffix
	}
	if !kd.cluster {
		ns, _ := k.st.get(namespaces, "", o.GetNamespace()).(*corev1.Namespace)
		switch {
		case ns == nil:
			return apierrors.NewNotFound(namespaces.gr(), o.GetNamespace())
		case ns.DeletionTimestamp != nil:
			err := apierrors.NewForbidden(kd.gr(), o.GetName(), fmt.Errorf("unable to create new content in namespace %s because it is being terminated", ns.Name))
			err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: corev1.NamespaceTerminatingCause,
				Message: fmt.Sprintf("namespace %s is being terminated", ns.Name), Field: "metadata.namespace"})
			return err
		}
	}
	o.SetUID(types.UID(randomID()))
	o.SetCreationTimestamp(metav1.NewTime(time.Now().Truncate(time.Second)))
	o.SetDeletionTimestamp(nil)
	o.SetDeletionGracePeriodSeconds(nil)
	o.SetSelfLink("")
	o.SetGeneration(1)
	k.prepare(o)
	p, isPod := o.(*corev1.Pod)
	if isPod {
		k.setLimits(p)
	}
	if list := invalid(o, nil); len(list) > 0 {
		return apierrors.NewInvalid(kd.gk(), o.GetName(), list)
	}
	if k.st.get(kd, o.GetNamespace(), o.GetName()) != nil {
		return apierrors.NewAlreadyExists(kd.gr(), o.GetName())
	}
	if isPod {
		for _, admit := range []func(*corev1.Pod) *apierrors.StatusError{k.withinLimits, k.secure, k.withinQuota} {
			if err := admit(p); err != nil {
				return err
			}
		}
	}
	if !dry {
		k.st.put(kd, o)
	}
	return nil
}

// suffix is what generateName adds: five characters that make no words.
func suffix() string {
	const letters = "bcdfghjklmnpqrstvwxz2456789"
	b := randomBytes(5)
	for i := range b {
		b[i] = letters[int(b[i])%len(letters)]
	}
	return string(b)
}

// change is an update or a patch.
func (c *call) change() *apierrors.StatusError {
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	old := c.k.st.get(c.kind, c.namespace, c.name)
	if old == nil {
		return apierrors.NewNotFound(c.kind.gr(), c.name)
	}
	body := c.body
	if c.verb == "patch" {
		var err *apierrors.StatusError
		if body, err = c.patched(old); err != nil {
			return err
		}
	}
	o, err := c.decode(body)
	if err != nil {
		return err
	}
	switch {
	case o.GetName() != old.GetName():
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", o.GetName(), old.GetName()))
	case o.GetUID() != "" && o.GetUID() != old.GetUID():
		return apierrors.NewConflict(c.kind.gr(), c.name, fmt.Errorf("Precondition failed: UID in precondition: %s, UID in object meta: %s", o.GetUID(), old.GetUID())) //nolint:staticcheck // the API server's own words
	case o.GetResourceVersion() != "" && o.GetResourceVersion() != old.GetResourceVersion():
		return apierrors.NewConflict(c.kind.gr(), c.name, errors.New("the object has been modified; please apply your changes to the latest version and try again"))
	}
	if o, err = c.merge(old, o); err != nil {
		return err
	}
	c.k.prepare(o)
	if list := invalid(o, old); len(list) > 0 {
		return apierrors.NewInvalid(c.kind.gk(), c.name, list)
	}
	if !c.dry() {
		c.k.st.put(c.kind, o)
		c.k.settle(c.kind, o)
	}
	raw, e := json.Marshal(bare(o))
	if e != nil {
		return apierrors.NewInternalError(e)
	}
	c.sendRaw(http.StatusOK, c.kind, raw)
	return nil
}

// merge keeps of the old object what a writer may not change: its status but for the subresource
// status, which changes nothing else; what the server alone writes; finalizers that come late.
func (c *call) merge(old, o object) (object, *apierrors.StatusError) {
	from, to := old, o
	if c.sub == "status" {
		from, to = o, old
	}
	if c.kind.status {
		var a, b map[string]json.RawMessage
		if err := remarshal(from, &a); err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		if err := remarshal(to, &b); err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		if a["status"] != nil {
			b["status"] = a["status"]
		} else {
			delete(b, "status")
		}
		o = c.kind.make()
		if err := remarshal(b, o); err != nil {
			return nil, apierrors.NewInternalError(err)
		}
	}
	if len(o.GetManagedFields()) == 0 { // of another writer, who owns nothing
		o.SetManagedFields(old.GetManagedFields())
	}
	o.SetNamespace(old.GetNamespace())
	o.SetUID(old.GetUID())
	o.SetCreationTimestamp(old.GetCreationTimestamp())
	o.SetDeletionTimestamp(old.GetDeletionTimestamp())
	o.SetDeletionGracePeriodSeconds(old.GetDeletionGracePeriodSeconds())
	o.SetGeneration(old.GetGeneration())
	if specOf(old) != specOf(o) {
		o.SetGeneration(old.GetGeneration() + 1)
	}
	return o, nil
}

func remarshal(from, into any) error {
	b, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

func specOf(o object) string {
	var m struct {
		Spec json.RawMessage `json:"spec"`
	}
	_ = remarshal(o, &m)
	return string(m.Spec)
}
