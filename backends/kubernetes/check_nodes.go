package kubernetes

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/spec/words"
)

// spotCheck is equal machines of a need.
type spotCheck struct {
	need, machine int
	pod           *Pod
	load          backends.Load
	count         int
	hosts         backends.Hosts
}

// place looks for nodes that take the pods of equal machines.
func (c *inspection) place(s *spotCheck) {
	if !c.seen {
		return
	}
	chosen := c.selected(s)
	if len(chosen) == 0 {
		return
	}
	var open []corev1.Node
	var shut []string
	for _, n := range chosen {
		if why := closed(&n, s.pod); why != "" {
			shut = append(shut, n.Name+": "+why)
		} else {
			open = append(open, n)
		}
	}
	if len(open) == 0 {
		const most = 5
		if len(shut) > most {
			shut = append(shut[:most], fmt.Sprintf("and %d more", len(shut)-most))
		}
		c.finding(s.need, s.machine, "tolerations", "no node takes its pods (%s)", strings.Join(shut, "; "))
		return
	}
	c.largeEnough(s, open)
}

// selected are the nodes that a pod's nodeSelector picks; that there are none is noted.
func (c *inspection) selected(s *spotCheck) []corev1.Node {
	var out []corev1.Node
	for _, n := range c.nodes {
		fits := true
		for k, v := range s.pod.NodeSelector {
			fits = fits && n.Labels[k] == v && hasKey(n.Labels, k)
		}
		if fits {
			out = append(out, n)
		}
	}
	if len(out) > 0 {
		return out
	}
	for _, k := range slices.Sorted(maps.Keys(s.pod.NodeSelector)) {
		v := s.pod.NodeSelector[k]
		var values, keys []string
		for _, n := range c.nodes {
			keys = slices.AppendSeq(keys, maps.Keys(n.Labels))
			if x, ok := n.Labels[k]; ok {
				values = append(values, x)
			}
		}
		switch {
		case len(values) == 0:
			c.finding(s.need, s.machine, "nodeSelector", "no node has a label %q%s", k, words.Known(k, words.Set(keys)))
			return nil
		case !slices.Contains(values, v):
			c.finding(s.need, s.machine, "nodeSelector", "no node has label %s=%q%s", k, v, words.Known(v, words.Set(values)))
			return nil
		}
	}
	if len(c.nodes) == 0 {
		c.finding(s.need, s.machine, "", "the cluster has no node")
	} else {
		c.finding(s.need, s.machine, "nodeSelector", "no node has all of these labels: %d nodes have some", len(c.nodes))
	}
	return nil
}

func hasKey(m map[string]string, k string) bool { _, ok := m[k]; return ok }

// closed says why a node takes no pod like this; "": it does.
func closed(n *corev1.Node, p *Pod) string {
	if n.Spec.Unschedulable {
		return "it is cordoned"
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			return "it is not ready"
		}
	}
	for _, t := range n.Spec.Taints {
		if t.Effect != corev1.TaintEffectPreferNoSchedule && !slices.ContainsFunc(p.Tolerations, func(x Toleration) bool { return tolerates(x, &t) }) {
			return "taint " + t.ToString() + ", which no toleration names"
		}
	}
	return ""
}

// tolerates as Kubernetes: an empty effect fits all, and an empty key with Exists.
func tolerates(t Toleration, taint *corev1.Taint) bool {
	switch {
	case t.Effect != "" && t.Effect != string(taint.Effect):
		return false
	case t.Operator == string(corev1.TolerationOpExists):
		return t.Key == "" || t.Key == taint.Key
	}
	return t.Key == taint.Key && t.Value == taint.Value
}

// amount is something that nodes can give.
type amount struct {
	name  string // the resource
	words string
	field string
	want  int64
	of    func(*corev1.Node) int64
}

func amounts(p *Pod, l backends.Load, times int64) []amount {
	of := func(name string) func(*corev1.Node) int64 {
		return func(n *corev1.Node) int64 {
			q := n.Status.Allocatable[corev1.ResourceName(name)]
			return q.Value()
		}
	}
	memory := of("memory")
	gpus := times * int64(l.GPUs)
	if p.GPU == "" {
		gpus = 0 // what devices a node has, and which of a class, only the scheduler knows
	}
	return []amount{
		{p.GPU, " of " + p.GPU, "gpu", gpus, of(p.GPU)},
		{"cpu", " CPUs", "", times * int64(l.CPUs), of("cpu")},
		{"memory", " MiB of memory", "", times * int64(l.MemoryMiB), func(n *corev1.Node) int64 { return memory(n) >> 20 }},
	}
}

// largeEnough compares what trials put onto a machine, or onto all that stand on one host, with
// what nodes can give.
func (c *inspection) largeEnough(s *spotCheck, open []corev1.Node) {
	times, whose := int64(1), "a machine"
	if s.hosts == backends.SameHost {
		times, whose = int64(s.count), fmt.Sprintf("%d machines on one node", s.count)
	}
	fitting := open
	for _, a := range amounts(s.pod, s.load, times) {
		if a.want == 0 {
			continue
		}
		most := int64(0)
		for _, n := range open {
			most = max(most, a.of(&n))
		}
		if most < a.want {
			c.finding(s.need, s.machine, a.field, "the processes of a trial take %d%s on %s, and no node that fits has more than %d", a.want, a.words, whose, most)
			return
		}
		fitting = slices.DeleteFunc(slices.Clone(fitting), func(n corev1.Node) bool { return a.of(&n) < a.want })
	}
	if s.hosts == backends.DifferentHosts && len(fitting) < s.count {
		field := ""
		if len(s.pod.NodeSelector) > 0 {
			field = "nodeSelector"
		}
		c.finding(s.need, s.machine, field, "%d nodes are needed, for no two machines of %s may share one, and %d fit", s.count, c.needs[s.need].Fleet, len(fitting))
	}
}

// total compares what all trials take at once with what all nodes have. More than that waits for
// room, and its run takes longer.
func (c *inspection) total() {
	if !c.seen {
		return
	}
	resources := map[string]bool{}
	for _, g := range c.gpu {
		if g != "" {
			resources[g] = true
		}
	}
	for _, gpu := range slices.Sorted(maps.Keys(resources)) {
		want := backends.Peak(c.needs, func(i int) int {
			n := 0
			for _, l := range c.needs[i].Loads {
				if c.gpu[i] == gpu {
					n += l.GPUs
				}
			}
			return n
		})
		have := int64(0)
		for _, n := range c.nodes {
			q := n.Status.Allocatable[corev1.ResourceName(gpu)]
			have += q.Value()
		}
		if int64(want) > have {
			c.finding(-1, -1, "", "the plan takes %d of %s at once and the cluster has %d: trials will wait for each other; the testbed's capacity can say so", want, gpu, have)
			c.found[len(c.found)-1].Warning = true
		}
	}
}

// quota compares what is up at once with the quotas of the testbed's namespace. A run's own has none
// yet.
func (c *inspection) quota(ctx context.Context) error {
	if c.ns == "" {
		return nil
	}
	var list corev1.ResourceQuotaList
	err := c.list(ctx, kind{name: "resourcequotas"}, c.ns, metav1.ListOptions{}, &list)
	if forbidden(err) || notFound(err) {
		return nil
	}
	if err != nil {
		return c.fail(ctx, "list quotas", err)
	}
	own, err := c.ownPods(ctx)
	if err != nil {
		return err
	}
	for _, q := range list.Items {
		for _, name := range slices.Sorted(maps.Keys(q.Status.Hard)) {
			hard, used := q.Status.Hard[name], q.Status.Used[name].DeepCopy()
			want := backends.Peak(c.needs, func(i int) int { return c.takes(i, string(name)) })
			need := resource.NewQuantity(int64(want), hard.Format)
			free := hard.DeepCopy()
			used.Sub(taken(own, string(name)))
			free.Sub(used)
			if want > 0 && need.Cmp(free) > 0 {
				c.finding(-1, -1, "namespace", "the plan takes %s of %s at once, quota %q of namespace %q allows %s and %s are in use: raise it, or bound by the testbed's capacity what is up at once",
					need, name, q.Name, c.ns, &hard, &used)
			}
		}
	}
	return nil
}

// ownPods are those of the run that a quota counts.
func (c *inspection) ownPods(ctx context.Context) ([]corev1.Pod, error) {
	if c.run == "" {
		return nil, nil
	}
	var list corev1.PodList
	err := c.list(ctx, pods, c.ns, metav1.ListOptions{LabelSelector: selector(backends.Owner{Run: c.run})}, &list)
	if forbidden(err) { // which the rights tell
		return nil, nil
	}
	if err != nil {
		return nil, c.fail(ctx, "list pods", err)
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool {
		return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	}), nil
}

// taken is what pods take of a quota, but for devices of a class, which have claims of their own.
func taken(ps []corev1.Pod, name string) (sum resource.Quantity) {
	if name == "pods" || name == "count/pods" {
		return *resource.NewQuantity(int64(len(ps)), resource.DecimalSI)
	}
	of, limits := strings.CutPrefix(name, "limits.")
	of = strings.TrimPrefix(of, "requests.")
	for _, p := range ps {
		for _, c := range p.Spec.Containers {
			from := c.Resources.Requests
			if limits {
				from = c.Resources.Limits
			}
			sum.Add(from[corev1.ResourceName(of)])
		}
	}
	return sum
}

// takes is what a need takes of a quota. Machines have a pod each beside those of their processes.
func (c *inspection) takes(i int, name string) int {
	n := &c.needs[i]
	sum := func(of func(backends.Load) int) int {
		total := 0
		for _, l := range n.Loads {
			total += of(l)
		}
		return total
	}
	switch name {
	case "pods", "count/pods":
		return len(n.Machines) + sum(func(l backends.Load) int { return l.Processes })
	case "cpu", "requests.cpu", "limits.cpu":
		return sum(func(l backends.Load) int { return l.CPUs })
	case "memory", "requests.memory", "limits.memory":
		return sum(func(l backends.Load) int { return l.MemoryMiB << 20 })
	case "requests." + c.gpu[i], c.gpu[i], c.class[i] + ".deviceclass.resource.k8s.io/devices":
		return sum(func(l backends.Load) int { return l.GPUs })
	}
	return 0
}
