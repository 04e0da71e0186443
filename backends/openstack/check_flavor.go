package openstack

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/spec/words"
)

// flavorView is the part of a flavor's record that is used.
type flavorView struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	VCPUs    int    `json:"vcpus"`
	RAM      int    `json:"ram"`  // MiB
	Disk     int    `json:"disk"` // GB
	Disabled bool   `json:"OS-FLV-DISABLED:disabled"`
}

// flavors lists all, page after page.
func (c *cloud) flavors(ctx context.Context) ([]flavorView, error) {
	var out []flavorView
	for marker := ""; ; {
		var page struct {
			Flavors []flavorView `json:"flavors"`
			Links   []any        `json:"flavors_links"`
		}
		q := url.Values{}
		if marker != "" {
			q.Set("marker", marker)
		}
		if err := get(ctx, c.compute, q, &page, "flavors", "detail"); err != nil {
			return nil, err
		}
		out = append(out, page.Flavors...)
		if len(page.Links) == 0 || len(page.Flavors) == 0 {
			return out, nil
		}
		marker = page.Flavors[len(page.Flavors)-1].ID
	}
}

// flavorNamed finds a flavor by ID or name; nil if there is none.
func (c *inspection) flavorNamed(name string) *flavorView {
	for _, by := range []func(*flavorView) string{func(f *flavorView) string { return f.ID }, func(f *flavorView) string { return f.Name }} {
		for i := range c.listedFlavors {
			if f := &c.listedFlavors[i]; by(f) == name {
				return f
			}
		}
	}
	return nil
}

// flavorThere finds a flavor, and notes it where there is none.
func (c *inspection) flavorThere(ctx context.Context, a *ask, field, name, whose string) (*flavorView, error) {
	err := c.once("flavors", func() (err error) {
		c.listedFlavors, err = c.cloud.flavors(ctx)
		return c.cloud.fail(ctx, "list flavors", err)
	})
	if err != nil {
		return nil, err
	}
	f := c.flavorNamed(name)
	switch {
	case f == nil:
		var names []string
		for _, x := range c.listedFlavors {
			names = append(names, x.Name)
		}
		c.finding(a, field, "%sthe cloud has no flavor %q%s", whose, name, words.Known(name, words.Set(names)))
	case f.Disabled:
		c.finding(a, field, "%sflavor %q is disabled", whose, name)
	}
	return f, nil
}

// flavorFits finds the flavor of a server and compares it with what trials put onto the machine.
func (c *inspection) flavorFits(ctx context.Context, a *ask) (*flavorView, error) {
	f, err := c.flavorThere(ctx, a, "flavor", a.spec.Flavor, "")
	if err != nil || f == nil {
		return nil, err
	}
	if a.load.CPUs > f.VCPUs {
		c.finding(a, "flavor", "the processes of a trial take %s of a machine, and flavor %q has %d", words.Count(a.load.CPUs, "CPU"), f.Name, f.VCPUs)
	}
	if a.load.MemoryMiB > f.RAM {
		c.finding(a, "flavor", "the processes of a trial take %d MiB of a machine's memory, and flavor %q has %d", a.load.MemoryMiB, f.Name, f.RAM)
	}
	specs, known, err := c.extraSpecs(ctx, f)
	if err != nil || !known {
		return f, err
	}
	c.gpus(a, "flavor", f, specs)
	if n := &c.needs[a.need]; n.Hosts == backends.SameHost && len(n.Machines) > 1 && isMetal(specs) {
		c.finding(a, "flavor", "%d machines of %s are to stand on one host, and flavor %q takes a whole node for each", len(n.Machines), n.Fleet, f.Name)
	}
	if n, _ := strconv.Atoi(specs["hw:numa_nodes"]); n > 1 && f.VCPUs%n != 0 && specs["hw:numa_cpus.0"] == "" {
		c.finding(a, "flavor", "flavor %q shares %d CPUs out to %d NUMA nodes (hw:numa_nodes), which does not come out even: Nova refuses it", f.Name, f.VCPUs, n)
	}
	if a.load.CPUs > 0 && specs["hw:cpu_policy"] == "shared" {
		c.warning(a, "flavor", "processes ask for whole CPUs, and those of flavor %q are shared with other servers (hw:cpu_policy is shared)", f.Name)
	}
	return f, nil
}

// extraSpecs reads those of a flavor, once; known is false where the cloud does not show them.
func (c *inspection) extraSpecs(ctx context.Context, f *flavorView) (specs map[string]string, known bool, err error) {
	if s, ok := c.specs[f.ID]; ok {
		return s, s != nil, nil
	}
	specs, known, err = c.cloud.extraSpecs(ctx, f.ID, f.Name)
	if err == nil {
		c.specs[f.ID] = specs
	}
	return specs, known, err
}

// extraSpecs reads those of a flavor; where the cloud does not show them, they are nil and not known.
func (c *cloud) extraSpecs(ctx context.Context, id, name string) (specs map[string]string, known bool, err error) {
	out := struct {
		Specs map[string]string `json:"extra_specs"`
	}{Specs: map[string]string{}}
	err = get(ctx, c.compute, nil, &out, "flavors", id, "os-extra_specs")
	err = c.fail(ctx, "show extra specs of flavor "+name, err)
	switch {
	case unreadable(err):
		return nil, false, nil
	case err != nil:
		return nil, false, err
	}
	return out.Specs, true, nil
}

// gpus compares the GPUs that trials take with those that a flavor shows.
func (c *inspection) gpus(a *ask, field string, f *flavorView, specs map[string]string) {
	if a.load.GPUs == 0 || isMetal(specs) { // what a node of Ironic has its flavor does not say
		return
	}
	n, some := devices(specs)
	switch {
	case !some:
		c.warning(a, field, "the processes of a trial take %s of a machine, and flavor %q shows none: it has neither pci_passthrough:alias nor resources:VGPU%s",
			words.Count(a.load.GPUs, "GPU"), f.Name, shown(specs))
	case n < a.load.GPUs:
		c.warning(a, field, "the processes of a trial take %s of a machine, and flavor %q shows %d%s", words.Count(a.load.GPUs, "GPU"), f.Name, n, shown(specs))
	}
}

// isMetal reports whether a flavor is one of Ironic's: it takes a node whole, and no CPUs.
func isMetal(specs map[string]string) bool {
	for k := range specs {
		if strings.HasPrefix(k, "resources:CUSTOM_") && specs["resources:VCPU"] == "0" {
			return true
		}
	}
	return false
}

// devices counts what may be GPUs: PCI devices by alias ("a100:2,nic:1"), shares of GPUs, resources
// of the operator's own, and profiles of accelerators, whose size is not told.
func devices(specs map[string]string) (n int, some bool) {
	for k, v := range specs {
		at, resource, _ := strings.Cut(k, ":")
		switch {
		case k == "pci_passthrough:alias":
			for _, word := range strings.Split(v, ",") {
				_, count, _ := strings.Cut(word, ":")
				i, _ := strconv.Atoi(strings.TrimSpace(count))
				n, some = n+i, true
			}
		case k == "accel:device_profile":
			n, some = n+1<<16, true
		case strings.HasPrefix(at, "resources") && (resource == "VGPU" || resource == "PGPU" || strings.HasPrefix(resource, "CUSTOM_")):
			i, _ := strconv.Atoi(v)
			n, some = n+i, true
		}
	}
	return n, some
}

// shown tells the extra specs that say something of devices, CPUs and hosts.
func shown(specs map[string]string) string {
	var out []string
	for k, v := range specs {
		if at, _, _ := strings.Cut(k, ":"); slices.Contains([]string{"pci_passthrough", "hw", "accel"}, at) || strings.HasPrefix(at, "resources") || strings.HasPrefix(at, "trait") {
			out = append(out, fmt.Sprintf("%s=%s", k, v))
		}
	}
	if len(out) == 0 {
		return ""
	}
	slices.Sort(out)
	return " (it has " + strings.Join(out, ", ") + ")"
}

// addFlavor counts servers of a flavor into what is taken.
func (c *inspection) addFlavor(d *demand, name string, count int) {
	if f := c.flavorNamed(name); f != nil {
		d.cores += count * f.VCPUs
		d.ram += count * f.RAM
	}
}
