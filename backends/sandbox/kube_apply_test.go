package sandbox_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"dlx.dev/dlx/backends/sandbox"
)

// What a real API server, 1.37, answers to the same requests.
func TestServerSideApply(t *testing.T) {
	inVirtualTime(t, 1, sandbox.Config{}, func(w *world) {
		apply := func(manager, doc string, params ...string) (*corev1.ConfigMap, error) {
			r := w.core.Patch(types.ApplyYAMLPatchType).Namespace("default").Resource("configmaps").Name("m").Param("fieldManager", manager)
			for _, p := range params {
				r = r.Param(p, "true")
			}
			m := &corev1.ConfigMap{}
			err := r.Body([]byte("apiVersion: v1\nkind: ConfigMap\n" + doc)).Do(w.t.Context()).Into(m)
			return m, err
		}
		data := func(m *corev1.ConfigMap) string {
			var out []string
			for _, k := range slices.Sorted(maps.Keys(m.Data)) {
				out = append(out, k+"="+m.Data[k])
			}
			return strings.Join(out, " ")
		}
		managers := func(m *corev1.ConfigMap) string {
			var out []string
			for _, e := range m.ManagedFields {
				out = append(out, e.Manager+" "+string(e.Operation)+" "+e.FieldsV1.GetRawString())
			}
			return strings.Join(out, "; ")
		}
		first, err := apply("a", "metadata: {name: m, labels: {x/y: one}}\ndata: {k: v, l: w}")
		if err != nil || data(first) != "k=v l=w" || managers(first) != `a Apply {"f:data":{"f:k":{},"f:l":{}},"f:metadata":{"f:labels":{"f:x/y":{}}}}` {
			w.t.Fatalf("made: %v, %s, %s", err, data(first), managers(first))
		}
		same, err := apply("a", "metadata: {name: m, labels: {x/y: one}}\ndata: {k: v, l: w}")
		if err != nil || same.ResourceVersion != first.ResourceVersion || same.UID != first.UID {
			w.t.Errorf("the same again: %v, version %s; want %s", err, same.ResourceVersion, first.ResourceVersion)
		}
		shared, err := apply("b", "metadata: {name: m}\ndata: {k: v, m: x}")
		if err != nil || data(shared) != "k=v l=w m=x" || len(shared.ManagedFields) != 2 {
			w.t.Errorf("another's: %v, %s, %s", err, data(shared), managers(shared))
		}
		_, err = apply("a", "metadata: {name: m, labels: {x/y: one}}\ndata: {k: other}")
		if !apierrors.IsConflict(err) || err.Error() != `Apply failed with 1 conflict: conflict with "b": .data.k` {
			w.t.Errorf("conflict: got %v", err)
		}
		forced, err := apply("a", "metadata: {name: m, labels: {x/y: one}}\ndata: {k: other}", "force")
		if err != nil || data(forced) != "k=other m=x" ||
			managers(forced) != `b Apply {"f:data":{"f:m":{}}}; a Apply {"f:data":{"f:k":{}},"f:metadata":{"f:labels":{"f:x/y":{}}}}` {
			w.t.Errorf("forced: %v, %s, %s", err, data(forced), managers(forced))
		}
		dropped, err := apply("a", "metadata: {name: m}\ndata: {}")
		if err != nil || data(dropped) != "m=x" || len(dropped.Labels) > 0 || managers(dropped) != `b Apply {"f:data":{"f:m":{}}}; a Apply {"f:data":{}}` {
			w.t.Errorf("left out: %v, %s, labels %v", err, data(dropped), dropped.Labels)
		}
		if _, err := apply("a", "data: {}"); err == nil || err.Error() != "the name of the object (m based on URL) was undeterminable: name must be provided" {
			w.t.Errorf("no name: got %v", err)
		}
		// A writer by another request keeps the owners.
		dropped.Data["m"] = "y"
		dropped.ManagedFields = nil
		put := &corev1.ConfigMap{}
		if err := w.core.Put().Namespace("default").Resource("configmaps").Name("m").Body(dropped).Do(w.t.Context()).Into(put); err != nil || !strings.Contains(managers(put), "b Apply") {
			w.t.Errorf("put: %v, %s", err, managers(put))
		}
	})
}
