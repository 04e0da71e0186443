package kubernetes

import (
	"context"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/internal/leftovers"
)

var _ backends.Collector = (*provider)(nil)

// ofDlx selects what any run made.
const ofDlx = labelManager + "=" + manager + "," + labelRun

// Leftovers lists what all runs left: in the testbed's namespace, or, where each run has its own,
// in those. A login that may not look into all namespaces at once looks into one after the other.
func (p *provider) Leftovers(ctx context.Context) ([]backends.Leftover, error) {
	api, err := connect(p.kubeconfig, p.l.opt.Dial, p.l.opt.Log)
	if err != nil {
		return nil, backends.Errorf(backends.Config, "list leftovers", "%w", err)
	}
	defer api.close()
	ctx = quiet(ctx, p.l.opt.Log)
	own, err := p.ownNamespaces(ctx, api)
	if err != nil {
		return nil, err
	}
	all, err := api.leftIn(ctx, p.namespace)
	if forbidden(err) && p.namespace == "" {
		err = nil
		for _, ns := range own {
			in, nsErr := api.leftIn(ctx, ns.Name)
			if nsErr != nil {
				err = nsErr
				break
			}
			all = append(all, in...)
		}
	}
	if err != nil {
		return nil, api.fail(ctx, "list leftovers", err)
	}
	return leftovers.Complete(p.withNamespaces(all, own)), nil
}

// ownNamespaces are those that dlx made, as far as this testbed's runs use them.
func (p *provider) ownNamespaces(ctx context.Context, api *client) ([]corev1.Namespace, error) {
	if p.namespace != "" {
		var ns corev1.Namespace
		switch err := api.get(ctx, namespaces, "", p.namespace, &ns); {
		case notFound(err), forbidden(err), err == nil && ns.Labels[labelManager] != manager:
			return nil, nil
		case err != nil:
			return nil, api.fail(ctx, "namespace "+p.namespace, err)
		}
		return []corev1.Namespace{ns}, nil
	}
	var list corev1.NamespaceList
	err := api.list(ctx, namespaces, "", metav1.ListOptions{LabelSelector: ofDlx}, &list)
	return list.Items, api.fail(ctx, "list namespaces", err)
}

// leftIn lists what runs left in a namespace; "": in all of them that runs have to themselves. Its
// errors are the SDK's.
func (c *client) leftIn(ctx context.Context, ns string) ([]backends.Leftover, error) {
	var maps corev1.ConfigMapList
	var svcs corev1.ServiceList
	var ps corev1.PodList
	var js batchv1.JobList
	for _, k := range []struct {
		kind kind
		into runtime.Object
	}{{configMaps, &maps}, {services, &svcs}, {pods, &ps}, {jobs, &js}} {
		if err := c.list(ctx, k.kind, ns, metav1.ListOptions{LabelSelector: ofDlx}, k.into); err != nil {
			return nil, err
		}
	}
	var out []backends.Leftover
	add := func(k kind, obj metav1.Object) {
		if l, ok := marked(k, obj); ok && (ns != "" || obj.GetNamespace() == namespaceName(l.Owner.Run)) {
			out = append(out, l)
		}
	}
	for i := range maps.Items {
		add(configMaps, &maps.Items[i])
	}
	for i := range svcs.Items {
		add(services, &svcs.Items[i])
	}
	for i := range ps.Items {
		add(pods, &ps.Items[i])
	}
	for i := range js.Items {
		add(jobs, &js.Items[i])
	}
	return out, nil
}

// withNamespaces adds the namespaces themselves, but for one that other runs are in still: it
// goes with the last of them.
func (p *provider) withNamespaces(all []backends.Leftover, own []corev1.Namespace) []backends.Leftover {
	runs := map[string]bool{}
	for _, l := range all {
		runs[l.Owner.Run] = true
	}
	for i := range own {
		l, ok := marked(namespaces, &own[i])
		switch {
		case !ok, p.namespace == "" && own[i].Name != namespaceName(l.Owner.Run):
		case p.namespace != "" && (len(runs) > 1 || len(runs) == 1 && !runs[l.Owner.Run]):
		default:
			all = append(all, l)
		}
	}
	return all
}

// marked reads whose an object is and until when. Annotations hold what labels cannot.
func marked(k kind, obj metav1.Object) (backends.Leftover, bool) {
	notes, labels := obj.GetAnnotations(), obj.GetLabels()
	word := func(key string) string {
		if v := notes[key]; v != "" {
			return v
		}
		return labels[key]
	}
	l := backends.Leftover{Owner: backends.Owner{Run: word(labelRun), Fleet: word(labelFleet)},
		Object: backends.Object{Kind: k.words(), Name: obj.GetName(), ID: string(obj.GetUID())}}
	l.Until, _ = time.Parse(time.RFC3339, notes[keyUntil])
	return l, labels[labelManager] == manager && labels[labelRun] != "" && checkOwner(l.Owner, false) == nil
}
