package kubernetes

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"dlx.dev/dlx/backends"
)

// Keys of the ConfigMap that all of a detached run belongs to: what a run folder that is lost knew.
const (
	dataRun     = "run"
	dataStudy   = "study"
	dataMachine = "machine"
	dataImage   = "image"
)

// A DetachedFound is a run that goes on in a cluster, or has ended there, as the cluster knows it.
type DetachedFound struct {
	Detach
	Program string // dlx, as its pod calls it; "" if it never began
	State   DetachedState
}

// FindDetached lists the runs in a namespace of the cluster that the settings of a cloud name, or, if
// that is empty, in all of them; by namespace and name.
func FindDetached(ctx context.Context, config json.RawMessage, namespace string, o Options) ([]DetachedFound, error) {
	const op = "list detached runs"
	var settings Config
	if err := strict(config, &settings); err != nil {
		return nil, backends.Errorf(backends.Config, op, "%w", err)
	}
	kubeconfig, err := load(settings)
	if err != nil {
		return nil, backends.Errorf(backends.Config, op, "%w", err)
	}
	log := New(o).opt.Log
	api, err := connect(kubeconfig, o.Dial, log)
	if err != nil {
		return nil, backends.Errorf(backends.Config, op, "%w", err)
	}
	defer api.close()
	ctx = quiet(ctx, log)
	var maps corev1.ConfigMapList
	var js batchv1.JobList
	var ps corev1.PodList
	for _, k := range []struct {
		kind kind
		into runtime.Object
	}{{configMaps, &maps}, {jobs, &js}, {pods, &ps}} {
		if err := api.list(ctx, k.kind, namespace, metav1.ListOptions{LabelSelector: labelManager + "=" + detacher}, k.into); err != nil {
			return nil, api.fail(ctx, op, err)
		}
	}
	var out []DetachedFound
	for i := range maps.Items {
		m := &maps.Items[i]
		f := DetachedFound{State: DetachedState{Phase: DetachedNone}, Detach: Detach{Run: m.Data[dataRun], Namespace: m.Namespace, Study: m.Data[dataStudy],
			Machine: json.RawMessage(m.Data[dataMachine]), Image: m.Data[dataImage]}}
		if checkOwner(backends.Owner{Run: f.Run}, false) != nil || m.Name != namespaceName(f.Run) {
			continue
		}
		for k := range js.Items {
			if j := &js.Items[k]; j.Namespace == m.Namespace && j.Name == m.Name {
				f.State = stateOf(j, slices.DeleteFunc(slices.Clone(ps.Items), func(p corev1.Pod) bool { return p.Namespace != j.Namespace }),
					func(string) []*corev1.Event { return nil })
				if c := j.Spec.Template.Spec.Containers; len(c) > 0 && len(c[0].Command) > 0 {
					f.Program = c[0].Command[0]
				}
			}
		}
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b DetachedFound) int { return strings.Compare(a.Namespace+" "+a.Run, b.Namespace+" "+b.Run) })
	return out, nil
}
