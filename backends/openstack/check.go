package openstack

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/containerinfra/v1/clustertemplates"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/spec/words"
)

var _ backends.Checker = (*provider)(nil)

// inspection is one comparison of needs with the cloud. What was listed is kept: one request a
// kind, however many machines there are.
type inspection struct {
	*provider
	needs []backends.Need
	found []backends.Finding

	listedFlavors   []flavorView
	specs           map[string]map[string]string
	listedPools     []item
	listedTemplates []clustertemplates.ClusterTemplate
	looked          map[string]bool // kinds that were listed

	demand []demand          // by need
	held   []demand          // by need, what of it the run has
	there  []backends.Object // what the run has
	run    string
}

// demand is what a need takes of the quotas.
type demand struct {
	instances, cores, ram int // ram in MiB
	keypair, logins       bool
	group, members        int  // server groups, and servers in one
	floating              int  // IPs
	own                   bool // network of the run's
	clusters              int
}

// Check implements backends.Checker.
func (o *provider) Check(ctx context.Context, run string, needs []backends.Need) ([]backends.Finding, error) {
	c := &inspection{
		provider: o, run: run, needs: needs, demand: make([]demand, len(needs)), held: make([]demand, len(needs)),
		specs: map[string]map[string]string{}, looked: map[string]bool{},
	}
	err := c.look(ctx)
	slices.SortStableFunc(c.found, func(a, b backends.Finding) int { // what all share comes last
		return cmp.Compare(uint(a.Need), uint(b.Need))
	})
	return c.found, err
}

func (c *inspection) look(ctx context.Context) error {
	if err := c.readHeld(ctx); err != nil {
		return err
	}
	for i := range c.needs {
		if err := c.need(ctx, i); err != nil {
			return err
		}
	}
	if err := c.stock(ctx); err != nil {
		return err
	}
	if err := c.runNetworkThere(ctx); err != nil {
		return err
	}
	c.jumpThere(ctx)
	return c.quotas(ctx)
}

// ask is one machine of a need.
type ask struct {
	need    int
	machine int // -1: all of them
	spec    Spec
	load    backends.Load
}

// finding notes a misfit of a machine's field.
func (c *inspection) finding(a *ask, field, format string, args ...any) {
	c.found = append(c.found, backends.Finding{Need: a.need, Machine: a.machine, Field: field, Msg: c.cloud.redact(fmt.Sprintf(format, args...))})
}

func (c *inspection) warning(a *ask, field, format string, args ...any) {
	c.finding(a, field, format, args...)
	c.found[len(c.found)-1].Warning = true
}

// together notes a misfit of all needs at once.
func (c *inspection) together(format string, args ...any) {
	c.finding(&ask{need: -1, machine: -1}, "", format, args...)
}

// need looks at the machines of a fleet. Equal ones are looked at once.
func (c *inspection) need(ctx context.Context, i int) error {
	n := &c.needs[i]
	services := map[string]int{}
	for m, r := range n.Machines {
		first := slices.IndexFunc(n.Machines, func(x backends.MachineRequest) bool { return bytes.Equal(x.Spec, r.Spec) })
		a := &ask{need: i, machine: m}
		if same(n.Machines) {
			a.machine = -1
		}
		for k, l := range n.Loads {
			if bytes.Equal(n.Machines[k].Spec, r.Spec) {
				a.load = backends.Load{CPUs: max(a.load.CPUs, l.CPUs), GPUs: max(a.load.GPUs, l.GPUs), MemoryMiB: max(a.load.MemoryMiB, l.MemoryMiB)}
			}
		}
		var err error
		if a.spec, err = parseSpec(r.Spec); err != nil {
			if first == m {
				c.finding(a, "", "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
			}
			continue
		}
		services[a.spec.Service]++
		if first == m {
			if err := c.machine(ctx, a); err != nil {
				return err
			}
		}
		if a.spec.Service == "nova" {
			c.demand[i].own = c.demand[i].own || a.spec.Network == "" && c.p.RunNetwork != nil
			name := machineName(c.owner(i), r.Name)
			c.count(i, c.has("server", name), func(d *demand) {
				d.instances++
				c.addFlavor(d, a.spec.Flavor, 1)
			})
			if a.spec.FloatingPool != "" {
				c.count(i, c.has(floatingIP.kind, name), func(d *demand) { d.floating++ })
			}
		}
	}
	c.standing(i, services)
	return nil
}

// owner is who has the machines of a need, if there are some.
func (c *inspection) owner(need int) backends.Owner {
	return backends.Owner{Run: c.run, Fleet: c.needs[need].Fleet}
}

// readHeld lists what the run has already.
func (c *inspection) readHeld(ctx context.Context) (err error) {
	if c.run != "" {
		c.there, err = c.Owned(ctx, backends.Owner{Run: c.run})
	}
	return err
}

// has reports whether the run has something of a name, or, if that is empty, anything of a kind.
func (c *inspection) has(kind, name string) bool {
	return slices.ContainsFunc(c.there, func(o backends.Object) bool { return o.Kind == kind && (name == "" || o.Name == name) })
}

// count adds to what a need takes, and to what the run has of it if it has this.
func (c *inspection) count(need int, held bool, add func(*demand)) {
	add(&c.demand[need])
	if held {
		add(&c.held[need])
	}
}

func same(ms []backends.MachineRequest) bool {
	return !slices.ContainsFunc(ms, func(m backends.MachineRequest) bool { return !bytes.Equal(m.Spec, ms[0].Spec) })
}

// machine looks at what one machine names.
func (c *inspection) machine(ctx context.Context, a *ask) error {
	switch a.spec.Service {
	case "magnum":
		return c.cluster(ctx, a)
	case "ironic":
		if c.cloud.metal == nil {
			c.finding(a, "service", "the cloud's catalog has no baremetal service (Ironic)")
			return nil
		}
		return c.image(ctx, a, "image", a.spec.Image, nil)
	}
	f, err := c.flavorFits(ctx, a)
	if err != nil {
		return err
	}
	if err := c.image(ctx, a, "image", a.spec.Image, f); err != nil {
		return err
	}
	if err := c.networkThere(ctx, a); err != nil {
		return err
	}
	if a.spec.FloatingPool != "" {
		pool, err := c.poolThere(ctx, a, "floatingPool", a.spec.FloatingPool)
		if err == nil && pool != "" {
			err = c.leadsTo(ctx, a, pool)
		}
		if err != nil {
			return err
		}
	}
	return c.zoneThere(ctx, a)
}

// standing looks at what a need takes as a whole: how its machines stand on hosts, its keypair,
// its cluster.
func (c *inspection) standing(i int, services map[string]int) {
	n, d, whole := &c.needs[i], &c.demand[i], &ask{need: i, machine: -1}
	nova, metal, coe := services["nova"], services["ironic"], services["magnum"]
	d.keypair, d.logins = nova+coe > 0, nova+metal > 0
	if coe > 0 {
		c.count(i, c.has("cluster", clusterName(c.owner(i))), func(d *demand) { d.clusters++ })
		if coe != len(n.Machines) || !same(n.Machines) {
			c.finding(whole, "service", "the nodes of a cluster are equal, and all machines of a fleet are nodes or none is: %d of the %d machines of %s are", coe, len(n.Machines), n.Fleet)
		}
	}
	if n.Hosts == backends.SameHost && len(n.Machines) > 1 {
		switch {
		case metal > 0:
			c.finding(whole, "service", "%d machines of %s are to stand on one host, and a machine of ironic is a host of its own", len(n.Machines), n.Fleet)
		case coe > 0:
			c.finding(whole, "service", "%d nodes of %s are to stand on one host, and Magnum places nodes as it likes", len(n.Machines), n.Fleet)
		}
	}
	if policies[n.Hosts] != "" && nova > 1 {
		d.members = nova
		c.count(i, c.has("servergroup", groupName(c.owner(i))), func(d *demand) { d.group++ })
	}
}

// image looks for an image, and whether a flavor has room for it; without a flavor whether it is
// there at all.
func (c *inspection) image(ctx context.Context, a *ask, field, name string, f *flavorView) error {
	all, err := c.cloud.images(ctx, name)
	if err != nil {
		return c.cloud.fail(ctx, fmt.Sprintf("find image %q", name), err)
	}
	switch {
	case len(all) == 0:
		known, err := c.cloud.images(ctx, "")
		if err != nil {
			return c.cloud.fail(ctx, "list images", err)
		}
		var names []string
		for _, i := range known {
			names = append(names, i.Name)
		}
		c.finding(a, field, "the cloud has no image %q%s", name, words.Known(name, words.Set(names)))
		return nil
	case len(all) > 1:
		var ids []string
		for _, i := range all {
			ids = append(ids, i.ID)
		}
		c.finding(a, field, "%d images are called %q: give the ID of one (%s)", len(all), name, strings.Join(ids, ", "))
		return nil
	}
	i := &all[0]
	if i.Status != images.ImageStatusActive {
		c.finding(a, field, "image %q is in state %q: only active ones boot", name, i.Status)
	}
	if f == nil {
		return nil
	}
	// As Nova: a flavor whose disk is 0 takes the image's size.
	if f.Disk > 0 && i.SizeBytes > int64(f.Disk)<<30 {
		c.finding(a, "flavor", "flavor %q has a disk of %d GB, and image %q is %d GB large: take a larger flavor", f.Name, f.Disk, name, (i.SizeBytes-1)>>30+1)
	}
	if f.Disk > 0 && i.MinDiskGigabytes > f.Disk {
		c.finding(a, "flavor", "flavor %q has a disk of %d GB, and image %q wants %d GB (min_disk): take a larger flavor", f.Name, f.Disk, name, i.MinDiskGigabytes)
	}
	if i.MinRAMMegabytes > f.RAM {
		c.finding(a, "flavor", "flavor %q has %d MiB of memory, and image %q wants %d MiB (min_ram): take a larger flavor", f.Name, f.RAM, name, i.MinRAMMegabytes)
	}
	return nil
}

// images lists those of a name, or the one of an ID; all without a name.
func (c *cloud) images(ctx context.Context, name string) ([]images.Image, error) {
	pages, err := images.List(c.image, images.ListOpts{Name: name}).AllPages(ctx)
	if err != nil {
		return nil, err
	}
	all, err := images.ExtractImages(pages)
	if err != nil || len(all) > 0 || !uuid.MatchString(name) {
		return all, err
	}
	i, err := images.Get(ctx, c.image, name).Extract()
	if gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return []images.Image{*i}, nil
}

// zoneThere looks for the availability zone of a machine. An administrator's may be followed by a
// host.
func (c *inspection) zoneThere(ctx context.Context, a *ask) error {
	if a.spec.Zone == "" {
		return nil
	}
	name, _, _ := strings.Cut(a.spec.Zone, ":")
	all, err := c.cloud.zones(ctx)
	if err != nil {
		return c.cloud.fail(ctx, "list availability zones", err)
	}
	var names []string
	for _, z := range all {
		if z.Name == name {
			if !z.State.Available {
				c.finding(a, "zone", "availability zone %q is not available now", name)
			}
			return nil
		}
		names = append(names, z.Name)
	}
	c.finding(a, "zone", "the cloud has no availability zone %q%s", name, words.Known(name, words.Set(names)))
	return nil
}

// project is the ID of the login's project; "" if it does not say.
func (c *cloud) project() string {
	r, ok := c.client.GetAuthResult().(tokens.CreateResult)
	if !ok {
		return ""
	}
	p, err := r.ExtractProject()
	if err != nil || p == nil {
		return ""
	}
	return p.ID
}

// unreadable reports that a service does not tell, to this login or at all.
func unreadable(err error) bool {
	r := refusalOf(err)
	return r != nil && slices.Contains([]int{http.StatusForbidden, http.StatusNotFound, http.StatusNotAcceptable, http.StatusNotImplemented, http.StatusBadRequest}, r.status)
}

// once lists a kind of thing at the first call.
func (c *inspection) once(kind string, list func() error) error {
	if c.looked[kind] {
		return nil
	}
	c.looked[kind] = true
	return list()
}
