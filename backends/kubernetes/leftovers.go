package kubernetes

import (
	"context"
	"slices"
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
// in those. A login needs to list namespaces, or to list objects in all of them at once; without the
// former, namespaces in which nothing is left are not found.
func (p *provider) Leftovers(ctx context.Context) ([]backends.Leftover, error) {
	api, err := connect(p.kubeconfig, p.l.opt.Dial, p.l.opt.Log)
	if err != nil {
		return nil, backends.Errorf(backends.Config, "list leftovers", "%w", err)
	}
	defer api.close()
	ctx = quiet(ctx, p.l.opt.Log)
	own, listed, err := p.ownNamespaces(ctx, api)
	if err != nil {
		return nil, api.fail(ctx, "list namespaces", err)
	}
	all, err := api.leftIn(ctx, p.namespace, p.namespace == "")
	switch {
	case forbidden(err) && p.namespace == "" && listed:
		all, err = api.leftInEach(ctx, own)
	case err == nil && !listed:
		own, err = api.namespacesOf(ctx, all)
	}
	if err != nil {
		return nil, api.fail(ctx, "list leftovers", err)
	}
	return leftovers.Complete(p.withNamespaces(all, own)), nil
}

// Errors of the following are the SDK's.

// ownNamespaces are those that dlx made, as far as this testbed's runs use them; listed is false
// where the login may not look.
func (p *provider) ownNamespaces(ctx context.Context, api *client) (own []corev1.Namespace, listed bool, err error) {
	if p.namespace != "" {
		own, err = api.getNamespaces(ctx, p.namespace)
		return own, true, err
	}
	var list corev1.NamespaceList
	err = api.list(ctx, namespaces, "", metav1.ListOptions{LabelSelector: ofDlx}, &list)
	if forbidden(err) {
		return nil, false, nil
	}
	return list.Items, true, err
}

// getNamespaces reads namespaces one by one, as far as they are there and may be read.
func (c *client) getNamespaces(ctx context.Context, names ...string) ([]corev1.Namespace, error) {
	var out []corev1.Namespace
	for _, name := range names {
		var ns corev1.Namespace
		switch err := c.get(ctx, namespaces, "", name, &ns); {
		case err == nil:
			out = append(out, ns)
		case !notFound(err) && !forbidden(err):
			return nil, err
		}
	}
	return out, nil
}

// namespacesOf are the namespaces of the runs that something is left of.
func (c *client) namespacesOf(ctx context.Context, all []backends.Leftover) ([]corev1.Namespace, error) {
	var names []string
	for _, l := range all {
		names = append(names, namespaceName(l.Owner.Run))
	}
	slices.Sort(names)
	return c.getNamespaces(ctx, slices.Compact(names)...)
}

// leftInEach looks into one namespace after the other.
func (c *client) leftInEach(ctx context.Context, own []corev1.Namespace) ([]backends.Leftover, error) {
	var all []backends.Leftover
	for _, ns := range own {
		in, err := c.leftIn(ctx, ns.Name, true)
		if err != nil {
			return nil, err
		}
		all = append(all, in...)
	}
	return all, nil
}

// leftIn lists what runs left in a namespace, or in all of them; alone: of runs that have it to
// themselves.
func (c *client) leftIn(ctx context.Context, ns string, alone bool) ([]backends.Leftover, error) {
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
		if l, ok := marked(k, obj); ok && (!alone || obj.GetNamespace() == namespaceName(l.Owner.Run)) {
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
