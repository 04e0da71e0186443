package openstack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"dlx.dev/dlx/backends"
)

// A RunNetwork is the network of a run's own, for the servers that name none.
type RunNetwork struct {
	CIDR     string   `json:"cidr"`
	External string   `json:"external"` // external network that a router leads to; empty: there is no router
	DNS      []string `json:"dns"`
}

func (n *RunNetwork) check() error {
	if n == nil {
		return nil
	}
	var errs []error
	if p, err := netip.ParsePrefix(n.CIDR); err != nil || p != p.Masked() {
		errs = append(errs, fmt.Errorf(`runNetwork.cidr: %q is no range of addresses such as "10.250.0.0/24"`, n.CIDR))
	}
	for _, d := range n.DNS {
		if _, err := netip.ParseAddr(d); err != nil {
			errs = append(errs, fmt.Errorf("runNetwork.dns: %q is no IP address", d))
		}
	}
	return errors.Join(errs...)
}

// version is that of IP, as a number and as Neutron's rules have it.
func (n *RunNetwork) version() (int, string) {
	if p, err := netip.ParsePrefix(n.CIDR); err == nil && p.Addr().Is6() {
		return 6, "IPv6"
	}
	return 4, "IPv4"
}

// runNet is what a run's network is made of: a network with one subnet, a router where there is a way
// out, and a security group. All are the run's, as the keypair is, and have its name.
type runNet struct {
	network, group string       // IDs
	ports          map[int]bool // those of SSH that the group lets in
}

// ensureRunNetwork puts those of a fleet's servers onto the run's network that name none. What is there
// of the network is found again; the caller has the run's gate.
func (o *provider) ensureRunNetwork(ctx context.Context, f *fleet, jobs []*job) error {
	jobs = slices.DeleteFunc(slices.Clone(jobs), func(j *job) bool { return o.p.RunNetwork == nil || j.spec.Network != "" })
	if len(jobs) == 0 {
		return nil
	}
	run := f.Owner.Run
	n := o.runNet(run)
	if n == nil {
		var err error
		if n, err = o.makeRunNetwork(ctx, f); err != nil {
			return err
		}
	}
	_, ethertype := o.p.RunNetwork.version()
	for _, j := range jobs {
		j.network, j.group = n.network, n.group
		if port := o.sshPort(j); !n.ports[port] {
			if err := o.allow(ctx, n, map[string]any{"ethertype": ethertype, "protocol": "tcp", "port_range_min": port, "port_range_max": port}); err != nil {
				return err
			}
			n.ports[port] = true
		}
	}
	o.setRunNet(run, n)
	return nil
}

func (o *provider) makeRunNetwork(ctx context.Context, f *fleet) (*runNet, error) {
	owner, name := backends.Owner{Run: f.Owner.Run}, keypairName(f.Owner.Run)
	ensure := func(k *netKind, body map[string]any) (*netView, error) {
		there, err := o.ownedNets(ctx, k, owner)
		if err != nil {
			return nil, err
		}
		body["name"] = name
		return o.ensureNet(ctx, &made{f.Ledger, owner, "", f.Until}, k, there, name, body)
	}
	own := o.p.RunNetwork
	version, ethertype := own.version()
	net, err := ensure(network, map[string]any{})
	if err != nil {
		return nil, err
	}
	dns := append([]string{}, own.DNS...)
	sub, err := ensure(subnet, map[string]any{"network_id": net.ID, "ip_version": version, "cidr": own.CIDR, "dns_nameservers": dns})
	if err != nil {
		return nil, err
	}
	if own.External != "" {
		pool, err := o.cloud.poolID(ctx, own.External)
		if err != nil {
			return nil, err
		}
		r, err := ensure(router, map[string]any{"external_gateway_info": map[string]any{"network_id": pool}})
		if err != nil {
			return nil, err
		}
		if err := o.enterSubnet(ctx, r, sub.ID); err != nil {
			return nil, err
		}
	}
	group, err := ensure(securityGroup, map[string]any{})
	if err != nil {
		return nil, err
	}
	n := &runNet{network: net.ID, group: group.ID, ports: map[int]bool{}}
	return n, o.allow(ctx, n, map[string]any{"ethertype": ethertype, "remote_group_id": group.ID})
}

// allow lets something in, unless it is allowed already.
func (o *provider) allow(ctx context.Context, n *runNet, rule map[string]any) error {
	rule["security_group_id"], rule["direction"] = n.group, "ingress"
	err := o.cloud.ask(ctx, http.MethodPost, map[string]any{"security_group_rule": rule}, nil, "security-group-rules")
	if err = o.cloud.fail(ctx, "create a rule of the run's security group", err); conflict(err) && !strings.Contains(err.Error(), "Quota") {
		return nil
	}
	return err
}

// enterSubnet gives a router a port in a subnet, unless it has one.
func (o *provider) enterSubnet(ctx context.Context, r *netView, subnet string) error {
	ports, err := o.portsOf(ctx, r.ID)
	if err != nil {
		return err
	}
	for _, p := range ports {
		if slices.ContainsFunc(p.FixedIPs, func(f fixedIP) bool { return f.Subnet == subnet }) {
			return nil
		}
	}
	err = o.cloud.ask(ctx, http.MethodPut, map[string]any{"subnet_id": subnet}, nil, router.path, r.ID, "add_router_interface")
	return o.cloud.fail(ctx, "connect router "+r.Name, err)
}

// leaveSubnets takes a router out of all subnets.
func (o *provider) leaveSubnets(ctx context.Context, r *netView) error {
	ports, err := o.portsOf(ctx, r.ID)
	if err != nil {
		return err
	}
	for _, p := range ports {
		for _, f := range p.FixedIPs {
			err := o.cloud.ask(ctx, http.MethodPut, map[string]any{"subnet_id": f.Subnet}, nil, router.path, r.ID, "remove_router_interface")
			// The port of the gateway, which an administrator sees, is no interface and goes with the router.
			if err = o.cloud.fail(ctx, "disconnect router "+r.Name, err); err != nil && !notFound(err) {
				return err
			}
		}
	}
	return nil
}

// removeRunNetwork removes what ensureRunNetwork made. The caller has the run's gate.
func (o *provider) removeRunNetwork(ctx context.Context, run string, l backends.Ledger) error {
	o.setRunNet(run, nil)
	owner := backends.Owner{Run: run}
	for _, k := range netKinds {
		var before func(context.Context, *netView) error
		if k == router {
			before = o.leaveSubnets
		}
		if k == floatingIP { // of fleets, which remove them
			continue
		}
		if err := o.removeNets(ctx, k, owner, l, before); err != nil {
			return err
		}
	}
	return nil
}

func (o *provider) runNet(run string) *runNet {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.runNets[run]
}

func (o *provider) setRunNet(run string, n *runNet) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n == nil {
		delete(o.runNets, run)
		return
	}
	o.runNets[run] = n
}
