package sandbox

import (
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

// Server-side apply, as far as clients see it: who applies a field owns it, what he leaves out the
// next time is taken away unless another has applied it too, and another's value is a conflict.
// Lists are one field each, while a real server tells the items of some apart; and those who write
// by other requests own nothing.

// applies reports whether a request is a server-side apply.
func (c *call) applies() bool {
	media, _, _ := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	return c.verb == "patch" && types.PatchType(media) == types.ApplyYAMLPatchType
}

// apply makes an object, or changes it to what its appliers say.
func (c *call) apply() *apierrors.StatusError {
	doc := map[string]any{}
	if err := yaml.Unmarshal(c.body, &doc); err != nil {
		return apierrors.NewBadRequest("error decoding YAML: " + err.Error())
	}
	manager := c.r.URL.Query().Get("fieldManager")
	meta, _ := doc["metadata"].(map[string]any)
	switch {
	case manager == "":
		return statusError(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, `PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch`)
	case doc["kind"] != c.kind.kind || doc["apiVersion"] != c.kind.apiVersion():
		return apierrors.NewBadRequest(fmt.Sprintf("invalid object type: /%v, Kind=%v", doc["apiVersion"], doc["kind"]))
	case meta["managedFields"] != nil:
		return apierrors.NewBadRequest("metadata.managedFields must be nil")
	case meta["name"] == nil:
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s based on URL) was undeterminable: name must be provided", c.name))
	case meta["name"] != c.name:
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%v) does not match the name on the URL (%s)", meta["name"], c.name))
	}
	c.k.mu.Lock()
	there := c.k.st.get(c.kind, c.namespace, c.name) != nil
	c.k.mu.Unlock()
	if !there {
		return c.applyNew(manager, doc)
	}
	return c.change()
}

// applyNew makes an object that is not there, which takes the right to make one.
func (c *call) applyNew(manager string, doc map[string]any) *apierrors.StatusError {
	if c.verb = "create"; !c.may(c.groups) {
		return c.forbidden()
	}
	meta, _ := doc["metadata"].(map[string]any)
	meta["managedFields"] = []metav1.ManagedFieldsEntry{c.owns(manager, fieldsOf(doc), nil)}
	var err error
	if c.body, err = json.Marshal(doc); err != nil {
		return apierrors.NewInternalError(err)
	}
	c.name = ""
	return c.create()
}

// applied is the object as an apply makes it, as JSON.
func (c *call) applied(old object, live []byte) ([]byte, *apierrors.StatusError) {
	now, doc := map[string]any{}, map[string]any{}
	if err := json.Unmarshal(live, &now); err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if err := yaml.Unmarshal(c.body, &doc); err != nil {
		return nil, apierrors.NewBadRequest("error decoding YAML: " + err.Error())
	}
	manager, force := c.r.URL.Query().Get("fieldManager"), c.r.URL.Query().Get("force") == "true"
	mine := fieldsOf(doc)
	var entries []metav1.ManagedFieldsEntry
	var before *metav1.ManagedFieldsEntry
	var conflicts []metav1.StatusCause
	others := paths{}
	for _, e := range old.GetManagedFields() {
		if e.Manager == manager {
			before = &e
			continue
		}
		theirs := managed(&e)
		for _, path := range slices.Sorted(maps.Keys(mine)) {
			switch same := reflect.DeepEqual(fieldAt(now, path), fieldAt(doc, path)); {
			case !theirs[path] || same:
			case force:
				delete(theirs, path)
			default:
				conflicts = append(conflicts, metav1.StatusCause{Type: metav1.CauseTypeFieldManagerConflict,
					Message: fmt.Sprintf("conflict with %q", e.Manager), Field: "." + strings.ReplaceAll(path, sep, ".")})
			}
		}
		if len(theirs) > 0 {
			maps.Copy(others, theirs)
			entries = append(entries, c.owns(e.Manager, theirs, &e))
		}
	}
	if len(conflicts) > 0 {
		return nil, applyConflict(conflicts)
	}
	if before != nil {
		for path := range managed(before) {
			if !mine[path] && !others[path] {
				dropField(now, strings.Split(path, sep))
			}
		}
	}
	now, _ = mergePatch(now, doc).(map[string]any)
	meta, _ := now["metadata"].(map[string]any)
	meta["managedFields"] = append(entries, c.owns(manager, mine, before))
	out, err := json.Marshal(now)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return out, nil
}

func applyConflict(causes []metav1.StatusCause) *apierrors.StatusError {
	var words []string
	for _, cause := range causes {
		words = append(words, cause.Message+": "+cause.Field)
	}
	s := "s"
	if len(causes) == 1 {
		s = ""
	}
	err := statusError(http.StatusConflict, metav1.StatusReasonConflict, fmt.Sprintf("Apply failed with %d conflict%s: %s", len(causes), s, strings.Join(words, ", ")))
	err.ErrStatus.Details = &metav1.StatusDetails{Causes: causes}
	return err
}

// paths are those of fields; their steps stand between separators.
type paths map[string]bool

const sep = "\x00"

// unowned are what says which object it is, and what the server writes.
var unowned = []string{"apiVersion", "kind", "status"}
var unownedMeta = []string{"name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"}

// fieldsOf gives the paths of all that a document says and somebody can own.
func fieldsOf(doc map[string]any) paths {
	out := paths{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		m, ok := v.(map[string]any)
		if !ok || len(m) == 0 {
			out[path] = true
			return
		}
		for k, v := range m {
			walk(path+sep+k, v)
		}
	}
	for k, v := range doc {
		switch m, _ := v.(map[string]any); {
		case v == nil, slices.Contains(unowned, k):
		case k == "metadata":
			for k, v := range m {
				if v != nil && !slices.Contains(unownedMeta, k) {
					walk("metadata"+sep+k, v)
				}
			}
		default:
			walk(k, v)
		}
	}
	return out
}

// owns is the note of who owns which fields; before is that of earlier, whose time stays if nothing differs.
func (c *call) owns(manager string, f paths, before *metav1.ManagedFieldsEntry) metav1.ManagedFieldsEntry {
	tree := map[string]any{}
	for path := range f {
		at := tree
		for step := range strings.SplitSeq(path, sep) {
			next, ok := at["f:"+step].(map[string]any)
			if !ok {
				next = map[string]any{}
				at["f:"+step] = next
			}
			at = next
		}
	}
	raw, _ := json.Marshal(tree) // of maps and strings alone
	e := metav1.ManagedFieldsEntry{Manager: manager, Operation: metav1.ManagedFieldsOperationApply, APIVersion: c.kind.apiVersion(),
		FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(string(raw))}
	if before != nil && before.FieldsV1 != nil && before.FieldsV1.GetRawString() == string(raw) {
		e.Time = before.Time
	} else {
		now := metav1.NewTime(time.Now().Truncate(time.Second))
		e.Time = &now
	}
	return e
}

// managed reads such a note.
func managed(e *metav1.ManagedFieldsEntry) paths {
	out, tree := paths{}, map[string]any{}
	if e.FieldsV1 != nil {
		_ = json.Unmarshal(e.FieldsV1.GetRawBytes(), &tree) // written by owns
	}
	var walk func(path []string, at map[string]any)
	walk = func(path []string, at map[string]any) {
		if len(at) == 0 && len(path) > 0 {
			out[strings.Join(path, sep)] = true
		}
		for k, v := range at {
			next, _ := v.(map[string]any)
			walk(append(slices.Clone(path), strings.TrimPrefix(k, "f:")), next)
		}
	}
	walk(nil, tree)
	return out
}

func fieldAt(doc map[string]any, path string) any {
	var at any = doc
	for step := range strings.SplitSeq(path, sep) {
		m, _ := at.(map[string]any)
		at = m[step]
	}
	return at
}

// dropField takes a field out, and what is empty without it.
func dropField(doc map[string]any, path []string) {
	if len(path) > 1 {
		m, _ := doc[path[0]].(map[string]any)
		if dropField(m, path[1:]); len(m) > 0 {
			return
		}
	}
	delete(doc, path[0])
}
