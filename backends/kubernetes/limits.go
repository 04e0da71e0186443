package kubernetes

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// limitsKey is the annotation in which the admission plugin LimitRanger says what it has set.
const limitsKey = "kubernetes.io/limit-ranger"

// otherCPUs says that a pod of a process has another CPU limit than the study asks for (0: none); "": it
// has not. A cluster's admission plugins may have set it, and what is measured would be throttled. One
// that the whole node (0: not known) does not exceed throttles nothing.
func otherCPUs(p *corev1.Pod, asked int, node resource.Quantity) string {
	whole := resource.NewQuantity(int64(asked), resource.DecimalSI)
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		if c.Name != process {
			continue
		}
		limit, limited := c.Resources.Limits[corev1.ResourceCPU]
		by := ""
		if said := p.Annotations[limitsKey]; said != "" {
			by = " (" + clip(said) + ")"
		}
		switch {
		case asked > 0 && !limited:
			return fmt.Sprintf("no CPU limit where the study asks for %d%s: others could use what it shall have alone", asked, by)
		case asked > 0 && limit.Cmp(*whole) != 0:
			return fmt.Sprintf("CPU limit %s where the study asks for %d%s: what is measured would be that of other CPUs", limit.String(), asked, by)
		case asked == 0 && limited && (node.IsZero() || limit.Cmp(node) < 0):
			return fmt.Sprintf("CPU limit %s where the study asks for none%s: what is measured would be throttled; say cpus for the role, or take the limit away", limit.String(), by)
		}
	}
	return ""
}

// nodeCPUs are those that the node of a machine has for pods; 0: not known.
func (s *spot) nodeCPUs() resource.Quantity {
	q, err := resource.ParseQuantity(s.machine.Facts["node.cpus"])
	if err != nil {
		return resource.Quantity{}
	}
	return q
}
