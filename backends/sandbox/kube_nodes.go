package sandbox

import (
	"runtime"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"dlx.dev/dlx/backends"
)

// gpuResource is what GPUs of nodes count as.
const gpuResource = "nvidia.com/gpu"

// isolationKey is the annotation of nodes that says whether pods get namespaces of their own.
const isolationKey = "sandbox.dlx.dev/isolation"

// maxPods is kubelet's default.
const maxPods = 110

// host is the machine behind a node.
type host struct {
	Server  string `json:"server"` // ID: names the machine's folder
	Name    string `json:"name"`   // of the node
	Address string `json:"address,omitempty"`
	CPUs    []int  `json:"cpus,omitempty"`
	VCPUs   int    `json:"vcpus"`
	RAM     int    `json:"ram"` // MiB
	GPUs    int    `json:"gpus"`
	Lost    bool   `json:"lost,omitempty"` // its machine is gone
}

// host finds the machine of a node. The caller holds k.mu.
func (k *kube) host(node string) *host {
	i := slices.IndexFunc(k.hosts, func(h *host) bool { return h.Name == node })
	if i < 0 {
		return nil
	}
	return k.hosts[i]
}

// passNodes makes a node of each machine that is up, and says which are lost. Pods on those end
// as the pod garbage collector ends them.
func (k *kube) passNodes(next *agenda) {
	k.passEvents(next)
	for _, h := range k.hosts {
		n, _ := k.st.get(nodes, "", h.Name).(*corev1.Node)
		switch {
		case n == nil && !h.Lost && h.Address != "":
			made := h.node()
			made.Annotations = map[string]string{isolationKey: "namespaces"}
			if why := k.s.boxes(); why != "" {
				made.Annotations[isolationKey] = "none: " + why
			}
			_ = k.create(nodes, made, false)
		case n != nil && h.Lost:
			edit(k.st, nodes, n, lost)
		}
	}
	for _, p := range all[*corev1.Pod](k.st, pods, "") {
		h := k.host(p.Spec.NodeName)
		n, _ := k.st.get(nodes, "", p.Spec.NodeName).(*corev1.Node)
		if p.Spec.NodeName == "" || n != nil && h != nil && !h.Lost {
			continue
		}
		if !ended(p) {
			p = edit(k.st, pods, p, func(p *corev1.Pod) {
				p.Status.Phase = corev1.PodFailed
				setPodCondition(p, corev1.DisruptionTarget, corev1.ConditionTrue, "DeletionByPodGC", "PodGC: node no longer exists")
			})
		}
		if w := k.pods[p.UID]; w != nil {
			w.kill()
		}
		if p.DeletionTimestamp == nil {
			k.delete(pods, p, &metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)})
		}
	}
}

// passEvents lets events go after an hour, as the API server does.
func (k *kube) passEvents(next *agenda) {
	for _, e := range all[*corev1.Event](k.st, events, "") {
		if due := e.LastTimestamp.Add(time.Hour); due.After(next.now) {
			next.at(due)
		} else {
			k.st.remove(events, e)
		}
	}
}

func (h *host) node() *corev1.Node {
	list := corev1.ResourceList{
		corev1.ResourceCPU: *resource.NewQuantity(int64(h.VCPUs), resource.DecimalSI), corev1.ResourceMemory: *resource.NewQuantity(int64(h.RAM)<<20, resource.BinarySI),
		corev1.ResourcePods: *resource.NewQuantity(maxPods, resource.DecimalSI), corev1.ResourceEphemeralStorage: *resource.NewQuantity(10<<30, resource.BinarySI),
	}
	if h.GPUs > 0 {
		list[gpuResource] = *resource.NewQuantity(int64(h.GPUs), resource.DecimalSI)
	}
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: h.Name, Labels: map[string]string{
		corev1.LabelHostname: h.Name, corev1.LabelOSStable: runtime.GOOS, corev1.LabelArchStable: runtime.GOARCH, corev1.LabelTopologyZone: Zone, corev1.LabelTopologyRegion: Region}},
		Spec: corev1.NodeSpec{ProviderID: "openstack:///" + h.Server}}
	n.Status = corev1.NodeStatus{Capacity: list, Allocatable: list.DeepCopy(),
		Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: h.Address}, {Type: corev1.NodeHostName, Address: h.Name}},
		NodeInfo: corev1.NodeSystemInfo{MachineID: h.Server, SystemUUID: h.Server, BootID: h.Server, OperatingSystem: runtime.GOOS, Architecture: runtime.GOARCH,
			KubeletVersion: kubeVersion, ContainerRuntimeVersion: backends.SandboxRuntime + "1", OSImage: "dlx sandbox"}}
	now := metav1.NewTime(time.Now().Truncate(time.Second))
	for _, c := range []struct {
		t      corev1.NodeConditionType
		s      corev1.ConditionStatus
		reason string
	}{{corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory"}, {corev1.NodeDiskPressure, corev1.ConditionFalse, "KubeletHasNoDiskPressure"},
		{corev1.NodePIDPressure, corev1.ConditionFalse, "KubeletHasSufficientPID"}, {corev1.NodeReady, corev1.ConditionTrue, "KubeletReady"}} {
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: c.t, Status: c.s, Reason: c.reason, LastHeartbeatTime: now, LastTransitionTime: now})
	}
	return n
}

// lost is what the node controller does to a node that it has not heard of.
func lost(n *corev1.Node) {
	for i := range n.Status.Conditions {
		if c := &n.Status.Conditions[i]; c.Status != corev1.ConditionUnknown {
			c.Status, c.Reason, c.Message, c.LastTransitionTime = corev1.ConditionUnknown, "NodeStatusUnknown", "Kubelet stopped posting node status.", metav1.NewTime(time.Now().Truncate(time.Second))
		}
	}
	for _, effect := range []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute} {
		t := corev1.Taint{Key: corev1.TaintNodeUnreachable, Effect: effect}
		if !slices.ContainsFunc(n.Spec.Taints, func(o corev1.Taint) bool { return o.Key == t.Key && o.Effect == t.Effect }) {
			n.Spec.Taints = append(n.Spec.Taints, t)
		}
	}
}

// machineGone is told that a machine was destroyed.
func (k *kube) machineGone(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, h := range k.hosts {
		if h.Server == id {
			h.Lost = true
			k.nudge()
		}
	}
}
