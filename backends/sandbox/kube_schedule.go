package sandbox

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"
)

// passSchedule does what the scheduler does: each pod without a node gets the fitting one that
// has the most left, or a condition that says why there is none. It knows requests, selectors,
// required affinity and taints; preferences change nothing.
func (k *kube) passSchedule() {
	list := all[*corev1.Node](k.st, nodes, "")
	pending := all[*corev1.Pod](k.st, pods, "")
	slices.SortStableFunc(pending, func(a, b *corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(versionOf(a), versionOf(b)))
	})
	for _, p := range pending {
		if p.Spec.NodeName == "" && p.DeletionTimestamp == nil && !ended(p) && p.Spec.SchedulerName == corev1.DefaultSchedulerName && len(p.Spec.SchedulingGates) == 0 {
			k.schedule(p, list)
		}
	}
}

func versionOf(o metav1.Object) uint64 {
	n, _ := strconv.ParseUint(o.GetResourceVersion(), 10, 64)
	return n
}

func (k *kube) schedule(p *corev1.Pod, list []*corev1.Node) {
	running := all[*corev1.Pod](k.st, pods, "")
	reasons := map[string]int{}
	helpless := 0 // nodes on which preemption could not help
	var best *corev1.Node
	least := 0.0
	for _, n := range list {
		why, hopeless := k.unfit(p, n, running, list)
		for _, w := range why {
			reasons[w]++
		}
		if hopeless {
			helpless++
		}
		if use := share(n, running); len(why) == 0 && (best == nil || use < least) {
			best, least = n, use
		}
	}
	if best != nil {
		k.event(pods, p, "default-scheduler", corev1.EventTypeNormal, "Scheduled", fmt.Sprintf("Successfully assigned %s/%s to %s", p.Namespace, p.Name, best.Name))
		edit(k.st, pods, p, func(p *corev1.Pod) {
			p.Spec.NodeName = best.Name
			setPodCondition(p, corev1.PodScheduled, corev1.ConditionTrue, "", "")
		})
		return
	}
	text := noFit(reasons, len(list), helpless)
	if c := podCondition(p, corev1.PodScheduled); c != nil && c.Message == text {
		return
	}
	k.event(pods, p, "default-scheduler", corev1.EventTypeWarning, "FailedScheduling", text)
	edit(k.st, pods, p, func(p *corev1.Pod) {
		setPodCondition(p, corev1.PodScheduled, corev1.ConditionFalse, corev1.PodReasonUnschedulable, text)
	})
}

// noFit says why no node fits, in the scheduler's words.
func noFit(reasons map[string]int, n, helpless int) string {
	if n == 0 {
		return "no nodes available to schedule pods"
	}
	var parts []string
	for r, c := range reasons {
		parts = append(parts, fmt.Sprintf("%d %s", c, r))
	}
	slices.Sort(parts)
	out := fmt.Sprintf("0/%d nodes are available: %s. preemption: 0/%d nodes are available: ", n, strings.Join(parts, ", "), n)
	var tail []string
	if helpless > 0 {
		tail = append(tail, fmt.Sprintf("%d Preemption is not helpful for scheduling", helpless))
	}
	if n > helpless {
		tail = append(tail, fmt.Sprintf("%d No preemption victims found for incoming pod", n-helpless))
	}
	return out + strings.Join(tail, ", ") + "."
}

// unfit says what keeps a pod off a node, and whether evicting others could not change it.
func (k *kube) unfit(p *corev1.Pod, n *corev1.Node, running []*corev1.Pod, list []*corev1.Node) (why []string, hopeless bool) {
	switch {
	case n.Spec.Unschedulable && !tolerates(p, &corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}):
		return []string{"node(s) were unschedulable"}, true
	case !selects(p, n):
		return []string{"node(s) didn't match Pod's node affinity/selector"}, true
	}
	for i := range n.Spec.Taints {
		if t := &n.Spec.Taints[i]; t.Effect != corev1.TaintEffectPreferNoSchedule && !tolerates(p, t) {
			return []string{"node(s) had untolerated taint(s)"}, true
		}
	}
	free, count := free(n, running)
	if count < 1 {
		why = append(why, "Too many pods")
	}
	want := requests(p)
	for _, r := range sortedResources(want) {
		q, have := want[r], free[r]
		if q.Cmp(have) > 0 {
			why = append(why, "Insufficient "+string(r))
			if c := n.Status.Allocatable[r]; q.Cmp(c) > 0 {
				hopeless = true // more than the node has at all
			}
		}
	}
	if len(why) > 0 {
		return why, hopeless
	}
	if w := k.antisocial(p, n, running, list); w != "" {
		return []string{w}, w == "node(s) didn't match pod affinity rules"
	}
	return nil, false
}

// selects reports whether nodeSelector and required node affinity take the node.
func selects(p *corev1.Pod, n *corev1.Node) bool {
	if !labels.SelectorFromSet(p.Spec.NodeSelector).Matches(labels.Set(n.Labels)) {
		return false
	}
	if p.Spec.Affinity == nil || p.Spec.Affinity.NodeAffinity == nil || p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return true
	}
	for _, term := range p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		if len(term.MatchExpressions)+len(term.MatchFields) == 0 {
			continue
		}
		ok := true
		for _, e := range term.MatchExpressions {
			v, there := n.Labels[e.Key]
			ok = ok && nodeMatches(&e, v, there)
		}
		for _, e := range term.MatchFields {
			ok = ok && e.Key == metav1.ObjectNameField && nodeMatches(&e, n.Name, true)
		}
		if ok {
			return true
		}
	}
	return false
}

func nodeMatches(e *corev1.NodeSelectorRequirement, v string, there bool) bool {
	switch e.Operator {
	case corev1.NodeSelectorOpIn:
		return there && slices.Contains(e.Values, v)
	case corev1.NodeSelectorOpNotIn:
		return !there || !slices.Contains(e.Values, v)
	case corev1.NodeSelectorOpExists:
		return there
	case corev1.NodeSelectorOpDoesNotExist:
		return !there
	case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
		a, err := strconv.ParseInt(v, 10, 64)
		if err != nil || len(e.Values) != 1 {
			return false
		}
		b, err := strconv.ParseInt(e.Values[0], 10, 64)
		return err == nil && (e.Operator == corev1.NodeSelectorOpGt && a > b || e.Operator == corev1.NodeSelectorOpLt && a < b)
	}
	return false
}

func tolerates(p *corev1.Pod, t *corev1.Taint) bool {
	return slices.ContainsFunc(p.Spec.Tolerations, func(o corev1.Toleration) bool {
		return (o.Key == t.Key || o.Key == "" && o.Operator == corev1.TolerationOpExists) && (o.Effect == "" || o.Effect == t.Effect) &&
			(o.Operator == corev1.TolerationOpExists || o.Value == t.Value)
	})
}

// requests is what a pod asks for: its containers together, or the greatest of its init containers.
func requests(p *corev1.Pod) corev1.ResourceList {
	sum := corev1.ResourceList{}
	for i := range p.Spec.Containers {
		addResources(sum, p.Spec.Containers[i].Resources.Requests)
	}
	for i := range p.Spec.InitContainers {
		for n, q := range p.Spec.InitContainers[i].Resources.Requests {
			if have := sum[n]; q.Cmp(have) > 0 {
				sum[n] = q
			}
		}
	}
	return sum
}

// free is what a node has left, and how many pods more it takes.
func free(n *corev1.Node, running []*corev1.Pod) (corev1.ResourceList, int) {
	left := n.Status.Allocatable.DeepCopy()
	count, _ := left.Pods().AsInt64()
	for _, p := range running {
		if p.Spec.NodeName != n.Name || ended(p) {
			continue
		}
		count--
		for r, q := range requests(p) {
			have := left[r]
			have.Sub(q)
			left[r] = have
		}
	}
	return left, int(count)
}

// share is how much of a node is taken: pods, and what they ask for.
func share(n *corev1.Node, running []*corev1.Pod) float64 {
	left, count := free(n, running)
	use := -float64(count)
	for _, r := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		total, have := n.Status.Allocatable[r], left[r]
		if total.Sign() > 0 {
			use += 100 * (1 - quotient(have, total))
		}
	}
	return use
}

func quotient(a, b resource.Quantity) float64 {
	return a.AsApproximateFloat64() / b.AsApproximateFloat64()
}

// antisocial says which rule of pod affinity forbids the node.
func (k *kube) antisocial(p *corev1.Pod, n *corev1.Node, running []*corev1.Pod, list []*corev1.Node) string {
	byName := map[string]*corev1.Node{}
	for _, o := range list {
		byName[o.Name] = o
	}
	near := func(o *corev1.Pod, topology string) bool {
		on := byName[o.Spec.NodeName]
		return on != nil && n.Labels[topology] != "" && on.Labels[topology] == n.Labels[topology]
	}
	for _, term := range affinity(p) {
		ok, any := false, false
		for _, o := range running {
			if o.Spec.NodeName == "" || ended(o) || !termFits(&term, p, o) {
				continue
			}
			any = true
			ok = ok || near(o, term.TopologyKey)
		}
		if first := !any && termFits(&term, p, p) && n.Labels[term.TopologyKey] != ""; !ok && !first { // the first of its kind may go anywhere
			return "node(s) didn't match pod affinity rules"
		}
	}
	for _, o := range running {
		if o.Spec.NodeName == "" || ended(o) || o.UID == p.UID {
			continue
		}
		for _, term := range antiAffinity(p) {
			if termFits(&term, p, o) && near(o, term.TopologyKey) {
				return "node(s) didn't match pod anti-affinity rules"
			}
		}
		for _, term := range antiAffinity(o) {
			if termFits(&term, o, p) && near(o, term.TopologyKey) {
				return "node(s) didn't satisfy existing pods anti-affinity rules"
			}
		}
	}
	return ""
}

func affinity(p *corev1.Pod) []corev1.PodAffinityTerm {
	if p.Spec.Affinity == nil || p.Spec.Affinity.PodAffinity == nil {
		return nil
	}
	return p.Spec.Affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution
}

func antiAffinity(p *corev1.Pod) []corev1.PodAffinityTerm {
	if p.Spec.Affinity == nil || p.Spec.Affinity.PodAntiAffinity == nil {
		return nil
	}
	return p.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution
}

// termFits reports whether a term of owner's affinity means the other pod.
func termFits(t *corev1.PodAffinityTerm, owner, other *corev1.Pod) bool {
	spaces := sets.New(t.Namespaces...)
	if len(spaces) == 0 && t.NamespaceSelector == nil {
		spaces.Insert(owner.Namespace)
	}
	if !spaces.Has(other.Namespace) && t.NamespaceSelector == nil {
		return false
	}
	sel, err := metav1.LabelSelectorAsSelector(t.LabelSelector)
	return err == nil && sel.Matches(labels.Set(other.Labels))
}

func podCondition(p *corev1.Pod, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == t {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

func setPodCondition(p *corev1.Pod, t corev1.PodConditionType, s corev1.ConditionStatus, reason, message string) {
	c := podCondition(p, t)
	if c == nil {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: t})
		c = &p.Status.Conditions[len(p.Status.Conditions)-1]
	}
	if c.Status != s {
		c.LastTransitionTime = metav1.NewTime(time.Now().Truncate(time.Second))
	}
	c.Status, c.Reason, c.Message = s, reason, message
}
