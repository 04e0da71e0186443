package kubernetes

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/internal/supervisor"
)

var supervisorSum = sync.OnceValue(func() string {
	sum := sha256.Sum256(supervisor.Text)
	return hex.EncodeToString(sum[:])
})

func (c *cluster) sendSupervisor(ctx context.Context, s *spot) (int, string, error) {
	var errs bytes.Buffer
	status, err := c.exec(quiet(ctx, c.log), command{ns: c.ns, pod: s.holder,
		words: []string{"/bin/sh", "-c", begin, "dlx", s.home(), supervisorSum(), strconv.Itoa(len(supervisor.Text))},
		stdin: bytes.NewReader(supervisor.Text), stderr: &limitedBuffer{to: &errs, left: 16 << 10}})
	return status, strings.TrimSpace(errs.String()), err
}

// node reads a node. Logins that may not are usual; they learn less, and that is no error.
func (c *cluster) node(ctx context.Context, name string) (*corev1.Node, bool) {
	var n corev1.Node
	if err := c.get(quiet(ctx, c.log), nodes, "", name, &n); err != nil {
		c.log("%v", c.fail(ctx, "node "+name, err))
		return nil, false
	}
	return &n, true
}

// aboutNode adds what the cluster says of a node.
func (c *cluster) aboutNode(ctx context.Context, name string, facts map[string]string) {
	n, ok := c.node(ctx, name)
	if !ok {
		return
	}
	i := n.Status.NodeInfo
	facts["node.kernel"], facts["node.os"], facts["node.kubelet"], facts["node.runtime"] = i.KernelVersion, i.OSImage, i.KubeletVersion, i.ContainerRuntimeVersion
	facts["node.hostname"] = n.Labels[labelHost]
	facts["node.type"] = n.Labels[corev1.LabelInstanceTypeStable]
	facts["node.cpus"], facts["node.memory"] = n.Status.Allocatable.Cpu().String(), n.Status.Allocatable.Memory().String()
	c.mu.Lock()
	c.capacity[name] = n.Status.Allocatable
	c.mu.Unlock()
}

// fits refuses a group that its nodes could not take even if they were empty: that is no lack of
// room, which would pass.
func (c *cluster) fits(ctx context.Context, op string, g *backends.Group, spots []*spot) error {
	want := resources(g, spots[0].pod.GPU).Requests // claimed devices are the scheduler's to count
	if len(want) == 0 {
		return nil
	}
	for _, s := range spots {
		c.mu.Lock()
		have, known := c.capacity[s.at.Node]
		c.mu.Unlock()
		if !known {
			n, ok := c.node(ctx, s.at.Node)
			if ok {
				have = n.Status.Allocatable
			}
			c.mu.Lock()
			c.capacity[s.at.Node] = have
			c.mu.Unlock()
		}
		if have == nil {
			continue
		}
		for name, q := range want {
			if most := have[name]; q.Cmp(most) > 0 {
				return backends.Errorf(backends.Config, op, "%s of %s are asked for and node %s has %s", q.String(), name, s.at.Node, most.String())
			}
		}
	}
	return nil
}

// noAccountYet reports whether a pod was refused because its namespace is young.
func noAccountYet(err error) bool {
	return strings.Contains(fmt.Sprint(err), "error looking up service account")
}
