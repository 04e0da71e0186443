package sandbox

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// patched is the object as the request's patch makes it, as JSON.
func (c *call) patched(old object) ([]byte, *apierrors.StatusError) {
	doc, err := json.Marshal(bare(old))
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	media, _, _ := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	var out []byte
	switch types.PatchType(media) {
	case types.MergePatchType:
		var target, patch any
		if err := json.Unmarshal(c.body, &patch); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		if err := json.Unmarshal(doc, &target); err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		out, err = json.Marshal(mergePatch(target, patch))
	case types.StrategicMergePatchType:
		out, err = strategicpatch.StrategicMergePatch(doc, c.body, c.kind.make())
	case types.JSONPatchType:
		out, err = jsonPatch(doc, c.body)
		if err != nil {
			return nil, &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity,
				Reason: metav1.StatusReasonInvalid, Message: "the server rejected our request due to an error in our request: " + err.Error()}}
		}
	case types.ApplyYAMLPatchType:
		return c.applied(old, doc)
	default:
		return nil, &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType,
			Message: "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json"}}
	}
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return out, nil
}

// mergePatch is RFC 7396.
func mergePatch(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	t, ok := target.(map[string]any)
	if !ok {
		t = map[string]any{}
	}
	for k, v := range p {
		if v == nil {
			delete(t, k)
		} else {
			t[k] = mergePatch(t[k], v)
		}
	}
	return t
}

// jsonPatch is RFC 6902: add, remove, replace, test. Move and copy are refused.
func jsonPatch(doc, patch []byte) ([]byte, error) {
	var ops []struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	if err := json.Unmarshal(patch, &ops); err != nil {
		return nil, err
	}
	var root any
	if err := json.Unmarshal(doc, &root); err != nil {
		return nil, err
	}
	for _, op := range ops {
		var steps []string
		if op.Path != "" {
			for s := range strings.SplitSeq(strings.TrimPrefix(op.Path, "/"), "/") {
				steps = append(steps, strings.NewReplacer("~1", "/", "~0", "~").Replace(s))
			}
		}
		var err error
		if root, err = patchAt(root, steps, op.Op, op.Value); err != nil {
			return nil, fmt.Errorf("%s operation does not apply: doc is missing path: %s: %w", op.Op, op.Path, err)
		}
	}
	return json.Marshal(root)
}

func patchAt(at any, steps []string, op string, value any) (any, error) {
	if len(steps) == 0 {
		switch op {
		case "add", "replace":
			return value, nil
		case "test":
			if !reflect.DeepEqual(at, value) {
				return nil, fmt.Errorf("testing value failed")
			}
			return at, nil
		}
		return nil, fmt.Errorf("unsupported operation %q", op)
	}
	step, last := steps[0], len(steps) == 1
	switch v := at.(type) {
	case map[string]any:
		old, there := v[step]
		switch {
		case last && op == "remove" && there:
			delete(v, step)
			return v, nil
		case !there && (!last || op != "add"):
			return nil, fmt.Errorf("missing value")
		}
		n, err := patchAt(old, steps[1:], op, value)
		v[step] = n
		return v, err
	case []any:
		if last && op == "add" && step == "-" {
			return append(v, value), nil
		}
		i, err := strconv.Atoi(step)
		if err != nil || i < 0 || i > len(v) || i == len(v) && (!last || op != "add") {
			return nil, fmt.Errorf("no index %q", step)
		}
		switch {
		case last && op == "add":
			return slices.Insert(v, i, value), nil
		case last && op == "remove":
			return slices.Delete(v, i, i+1), nil
		}
		v[i], err = patchAt(v[i], steps[1:], op, value)
		return v, err
	}
	return nil, fmt.Errorf("missing value")
}
