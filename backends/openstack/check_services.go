package openstack

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2/openstack/containerinfra/v1/clustertemplates"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/spec/words"
)

// cluster looks at what a node of a cluster of Magnum names.
func (c *inspection) cluster(ctx context.Context, a *ask) error {
	if c.cloud.coe == nil {
		c.finding(a, "service", "the cloud's catalog has no container-infra service (Magnum)")
		return nil
	}
	t, err := c.templateThere(ctx, a)
	if err != nil || t == nil {
		return err
	}
	whose := fmt.Sprintf("of cluster template %q: ", a.spec.Template)
	node, err := c.flavorOf(ctx, a, "flavor", a.spec.Flavor, t.FlavorID, whose)
	if err != nil {
		return err
	}
	master, err := c.flavorOf(ctx, a, "masterFlavor", a.spec.MasterFlavor, t.MasterFlavorID, whose)
	if err != nil {
		return err
	}
	if t.ImageID != "" {
		if err := c.image(ctx, a, "clusterTemplate", t.ImageID, nil); err != nil {
			return err
		}
	}
	nodes, masters := len(c.needs[a.need].Machines), max(1, a.spec.Masters)
	c.count(a.need, c.has("cluster", clusterName(c.owner(a.need))), func(d *demand) {
		d.instances += nodes + masters
		if node != nil {
			c.addFlavor(d, node.ID, nodes)
		}
		if master != nil {
			c.addFlavor(d, master.ID, masters)
		}
	})
	if node != nil {
		if a.load.CPUs > node.VCPUs {
			c.finding(a, fieldOr(a.spec.Flavor, "flavor"), "the processes of a trial take %s of a node, and flavor %q has %d", words.Count(a.load.CPUs, "CPU"), node.Name, node.VCPUs)
		}
		if specs, known, err := c.extraSpecs(ctx, node); err != nil {
			return err
		} else if known {
			c.gpus(a, fieldOr(a.spec.Flavor, "flavor"), node, specs)
		}
	}
	return nil
}

// fieldOr is a field that is set, or the template, which says it then.
func fieldOr(value, field string) string {
	if value == "" {
		return "clusterTemplate"
	}
	return field
}

// flavorOf finds a flavor that a machine names, or else its template; nil if neither does.
func (c *inspection) flavorOf(ctx context.Context, a *ask, field, own, ofTemplate, whose string) (*flavorView, error) {
	if own != "" {
		whose = ""
	}
	name := cmp.Or(own, ofTemplate)
	if name == "" {
		return nil, nil
	}
	return c.flavorThere(ctx, a, fieldOr(own, field), name, whose)
}

// templateThere finds the cluster template of a machine; nil if there is none, or no single one.
func (c *inspection) templateThere(ctx context.Context, a *ask) (*clustertemplates.ClusterTemplate, error) {
	err := c.once("templates", func() error {
		pages, err := clustertemplates.List(c.cloud.coe, nil).AllPages(ctx)
		if err == nil {
			c.listedTemplates, err = clustertemplates.ExtractClusterTemplates(pages)
		}
		return c.cloud.fail(ctx, "list cluster templates", err)
	})
	if err != nil {
		return nil, err
	}
	name := a.spec.Template
	var found []*clustertemplates.ClusterTemplate
	var names []string
	for i := range c.listedTemplates {
		t := &c.listedTemplates[i]
		if t.UUID == name {
			return t, nil
		}
		if t.Name == name {
			found = append(found, t)
		}
		names = append(names, t.Name)
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		c.finding(a, "clusterTemplate", "the cloud has no cluster template %q%s", name, words.Known(name, words.Set(names)))
	default:
		c.finding(a, "clusterTemplate", "%d cluster templates are called %q: give the ID of one", len(found), name)
	}
	return nil, nil
}

// stock compares the nodes of Ironic that are wanted at once with those that stand ready.
func (c *inspection) stock(ctx context.Context) error {
	wanted, held := make([]map[string]int, len(c.needs)), map[string]bool{} // the latter are allocations
	first := map[string]*ask{}
	for i, n := range c.needs {
		wanted[i] = map[string]int{}
		for _, m := range n.Machines {
			if s, err := parseSpec(m.Spec); err == nil && s.Service == "ironic" && c.cloud.metal != nil {
				wanted[i][s.ResourceClass]++
				for _, o := range c.there {
					if o.Kind == "allocation" && o.Name == machineName(c.owner(i), m.Name) {
						held[o.ID] = true
					}
				}
				if first[s.ResourceClass] == nil {
					first[s.ResourceClass] = &ask{need: i, machine: -1}
				}
			}
		}
	}
	if len(first) == 0 {
		return nil
	}
	nodes, err := c.nodesThere(ctx)
	if err != nil {
		return err
	}
	for _, class := range slices.Sorted(maps.Keys(first)) {
		c.ofClass(first[class], class, nodes, backends.Peak(c.needs, func(i int) int { return wanted[i][class] }), held)
	}
	return nil
}

func (c *inspection) ofClass(a *ask, class string, nodes []stockNode, want int, held map[string]bool) {
	states, ready, all := map[string]int{}, 0, 0
	var classes []string
	for _, n := range nodes {
		classes = append(classes, n.Class)
		if n.Class != class {
			continue
		}
		all++
		switch {
		case n.Maintenance:
			states["in maintenance"]++
		case n.State == "available" && n.Instance == "", held[n.Instance]:
			ready++
		default:
			states[n.State]++
		}
	}
	if all == 0 {
		c.finding(a, "resourceClass", "no node has the resource class %q%s", class, words.Known(class, words.Set(classes)))
		return
	}
	if ready >= want {
		return
	}
	var others []string
	for _, s := range slices.Sorted(maps.Keys(states)) {
		others = append(others, fmt.Sprintf("%d %s", states[s], s))
	}
	text := ""
	if len(others) > 0 {
		text = " (" + strings.Join(others, ", ") + ")"
	}
	c.finding(a, "resourceClass", "%s of resource class %q are needed at once, and %d of %d are available%s: wait for them, or bound by the testbed's capacity what is up at once",
		words.Count(want, "node"), class, ready, all, text)
}

// stockNode is a node of Ironic as far as it can be had.
type stockNode struct {
	ID          string `json:"uuid"`
	State       string `json:"provision_state"`
	Instance    string `json:"instance_uuid"`
	Class       string `json:"resource_class"`
	Maintenance bool   `json:"maintenance"`
}

// nodesThere lists all nodes that the login sees, page after page.
func (c *inspection) nodesThere(ctx context.Context) ([]stockNode, error) {
	var out []stockNode
	for marker := ""; ; {
		var page struct {
			Nodes []stockNode `json:"nodes"`
			Next  string      `json:"next"`
		}
		q := url.Values{"fields": {"uuid,provision_state,instance_uuid,resource_class,maintenance"}}
		if marker != "" {
			q.Set("marker", marker)
		}
		if err := get(ctx, c.cloud.metal, q, &page, "nodes"); err != nil {
			return nil, c.cloud.fail(ctx, "list nodes", err)
		}
		for _, n := range page.Nodes {
			out = append(out, n)
			marker = n.ID
		}
		if page.Next == "" || len(page.Nodes) == 0 {
			return out, nil
		}
	}
}
