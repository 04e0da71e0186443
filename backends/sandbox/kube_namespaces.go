package sandbox

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// bear makes the namespaces that every cluster has.
func (k *kube) bear() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, name := range []string{"default", "kube-node-lease", "kube-public", "kube-system"} {
		if k.st.get(namespaces, "", name) == nil {
			_ = k.create(namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, false)
		}
	}
}

// passNamespaces gives each namespace what it has from the start, and empties those that end.
func (k *kube) passNamespaces() {
	for _, n := range all[*corev1.Namespace](k.st, namespaces, "") {
		if n.DeletionTimestamp == nil {
			if k.st.get(accounts, n.Name, "default") == nil {
				_ = k.create(accounts, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: n.Name, Name: "default"}}, false)
			}
			if k.st.get(configMaps, n.Name, "kube-root-ca.crt") == nil {
				_ = k.create(configMaps, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: n.Name, Name: "kube-root-ca.crt"},
					Data: map[string]string{"ca.crt": k.c.CA}}, false)
			}
			continue
		}
		left, held := map[string]int{}, map[string]int{} // by resource, and by finalizer
		for _, kd := range kinds {
			if kd.cluster {
				continue
			}
			for _, r := range k.st.list(kd, n.Name) {
				o := r.obj
				if o.GetDeletionTimestamp() == nil {
					var gone bool
					if o, gone = k.delete(kd, o, &metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)}); gone {
						continue
					}
				}
				left[kd.resource+"."+kd.group]++
				for _, f := range o.GetFinalizers() {
					held[f]++
				}
			}
		}
		if len(left) == 0 {
			k.settle(namespaces, edit(k.st, namespaces, n, func(n *corev1.Namespace) { n.Spec.Finalizers = nil }))
			continue
		}
		k.remaining(n, corev1.NamespaceContentRemaining, "SomeResourcesRemain", "Some resources are remaining: ", "%s has %d resource instances", left)
		if len(held) > 0 {
			k.remaining(n, corev1.NamespaceFinalizersRemaining, "SomeFinalizersRemain", "Some content in the namespace has finalizers remaining: ", "%s in %d resource instances", held)
		}
	}
}

// remaining tells in a namespace's status, as the namespace controller does, what keeps it.
func (k *kube) remaining(n *corev1.Namespace, typ corev1.NamespaceConditionType, reason, words, each string, counts map[string]int) {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		list = append(list, fmt.Sprintf(each, name, counts[name]))
	}
	words += strings.Join(list, ", ")
	now, _ := k.st.get(namespaces, "", n.Name).(*corev1.Namespace)
	if now == nil || slices.ContainsFunc(now.Status.Conditions, func(c corev1.NamespaceCondition) bool { return c.Type == typ && c.Message == words }) {
		return
	}
	edit(k.st, namespaces, now, func(n *corev1.Namespace) {
		n.Status.Conditions = append(slices.DeleteFunc(n.Status.Conditions, func(c corev1.NamespaceCondition) bool { return c.Type == typ }),
			corev1.NamespaceCondition{Type: typ, Status: corev1.ConditionTrue, Reason: reason, Message: words, LastTransitionTime: metav1.NewTime(time.Now().Truncate(time.Second))})
	})
}

// passClaims binds claims: each is a folder of the cluster, for as long as the claim exists.
func (k *kube) passClaims() {
	there := map[string]bool{}
	for _, c := range all[*corev1.PersistentVolumeClaim](k.st, claims, "") {
		dir := k.claimFolder(c.UID)
		there[filepath.Base(dir)] = true
		if c.Status.Phase == corev1.ClaimBound {
			continue
		}
		if err := os.MkdirAll(dir, 0o777); err != nil {
			k.s.cfg.Log("sandbox: %s: %v", c.Name, err)
			continue
		}
		edit(k.st, claims, c, func(c *corev1.PersistentVolumeClaim) {
			c.Spec.VolumeName = "pvc-" + string(c.UID)
			c.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound, AccessModes: c.Spec.AccessModes, Capacity: c.Spec.Resources.Requests}
		})
	}
	old, _ := os.ReadDir(filepath.Dir(k.claimFolder("")))
	for _, e := range old {
		if !there[e.Name()] {
			_ = os.RemoveAll(filepath.Join(filepath.Dir(k.claimFolder("")), e.Name()))
		}
	}
}

func (k *kube) claimFolder(uid types.UID) string {
	return filepath.Join(filepath.Dir(k.journal()), "claims", "pvc-"+string(uid))
}

// event notes one about an object; equal ones are counted. The caller holds k.mu.
func (k *kube) event(kd *kind, o object, source, typ, reason, message string) {
	now := metav1.NewTime(time.Now().Truncate(time.Second))
	for _, r := range k.st.objects[events] {
		if e, ok := r.obj.(*corev1.Event); ok && e.InvolvedObject.UID == o.GetUID() && e.Reason == reason && e.Message == message {
			edit(k.st, events, e, func(e *corev1.Event) {
				e.Count++
				e.LastTimestamp = now
			})
			return
		}
	}
	_ = k.create(events, &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: orDefault(o.GetNamespace()), Name: o.GetName() + "." + hexID()[:16]},
		InvolvedObject: corev1.ObjectReference{APIVersion: kd.apiVersion(), Kind: kd.kind, Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID(),
			ResourceVersion: o.GetResourceVersion()},
		Reason: reason, Message: message, Type: typ, Count: 1, FirstTimestamp: now, LastTimestamp: now,
		Source: corev1.EventSource{Component: source}, ReportingController: source,
	}, false)
}

func orDefault(namespace string) string {
	if namespace == "" {
		return "default"
	}
	return namespace
}
