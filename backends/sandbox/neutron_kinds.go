package sandbox

import (
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"time"
)

// cloudNets are there from the beginning, and are the cloud's.
var cloudNets = func() []*netObject {
	born := time.Date(2018, 3, 19, 0, 0, 0, 0, time.UTC)
	return []*netObject{
		{Kind: "networks", ID: networkID, Name: Network, Created: born},
		{Kind: "networks", ID: externalID, Name: External, Created: born},
		{Kind: "subnets", ID: subnetID, Name: Network, Created: born, Network: networkID, CIDR: "127.77.0.0/16"},
		{Kind: "subnets", ID: externalSubnetID, Name: External, Created: born, Network: externalID, CIDR: "127.78.0.0/16"},
		{Kind: "security-groups", ID: defaultGroupID, Name: "default", Description: "Default security group", Created: born},
	}
}()

// find gives an object, or nil. The caller holds s.mu.
func (s *Server) find(path, id string) *netObject {
	i := slices.IndexFunc(s.netObjects(path), func(o *netObject) bool { return o.ID == id })
	if i < 0 {
		return nil
	}
	return s.netObjects(path)[i]
}

func (s *Server) makeNetwork(o *netObject, in *netRequest) *netError {
	o.Name, o.Description = in.Name, in.Description
	return nil
}

func (s *Server) showNetwork(o *netObject) map[string]any {
	subnets := []string{}
	for _, n := range s.netObjects("subnets") {
		if n.Network == o.ID {
			subnets = append(subnets, n.ID)
		}
	}
	return o.common(map[string]any{"status": "ACTIVE", "admin_state_up": true, "shared": s.st.Nets[o.ID] == nil, "subnets": subnets,
		"router:external": o.ID == externalID, "mtu": 1500, "port_security_enabled": true, "is_default": false,
		"availability_zones": []string{}, "availability_zone_hints": []string{}, "ipv4_address_scope": nil, "ipv6_address_scope": nil})
}

func (s *Server) networkBusy(o *netObject) *netError {
	in := ""
	for _, p := range s.ports() {
		if p["network_id"] == o.ID {
			in += "," + p["id"].(string)
		}
	}
	if in == "" {
		return nil
	}
	return netErrorf(http.StatusConflict, "NetworkInUse",
		"Unable to complete operation on network %s. There are one or more ports still in use on the network, id for these ports is: %s.", o.ID, in[1:])
}

// networkGone takes the subnets with the network.
func (s *Server) networkGone(o *netObject) {
	maps.DeleteFunc(s.st.Nets, func(_ string, n *netObject) bool { return n.Kind == "subnets" && n.Network == o.ID })
}

func (s *Server) makeSubnet(o *netObject, in *netRequest) *netError {
	invalid := func(format string, args ...any) *netError {
		return netErrorf(http.StatusBadRequest, "InvalidInput", "Invalid input for operation: "+format, args...)
	}
	if s.find("networks", in.Network) == nil {
		return netErrorf(http.StatusNotFound, "NetworkNotFound", "Network %s could not be found.", in.Network)
	}
	p, err := netip.ParsePrefix(in.CIDR)
	if err != nil || p != p.Masked() || p.Addr().Is4() != (in.Version == 4) {
		return invalid("%s is not in a CIDR format.", in.CIDR)
	}
	for _, n := range s.netObjects("subnets") {
		if other, err := netip.ParsePrefix(n.CIDR); err == nil && n.Network == in.Network && other.Overlaps(p) {
			return invalid("Requested subnet with cidr: %s for network: %s overlaps with another subnet.", in.CIDR, in.Network)
		}
	}
	o.Name, o.Description, o.Network, o.CIDR, o.DNS, o.Gateway = in.Name, in.Description, in.Network, in.CIDR, in.DNS, p.Addr().Next().String()
	if in.Gateway != nil {
		o.Gateway = *in.Gateway
	}
	return nil
}

func (s *Server) showSubnet(o *netObject) map[string]any {
	p := netip.MustParsePrefix(o.CIDR)
	version := 6
	if p.Addr().Is4() {
		version = 4
	}
	return o.common(map[string]any{"network_id": o.Network, "ip_version": version, "cidr": o.CIDR, "gateway_ip": o.Gateway, "enable_dhcp": true,
		"dns_nameservers": append([]string{}, o.DNS...), "host_routes": []any{}, "allocation_pools": []any{}, "subnetpool_id": nil, "service_types": []string{},
		"ipv6_ra_mode": nil, "ipv6_address_mode": nil})
}

func (s *Server) subnetBusy(o *netObject) *netError {
	for _, p := range s.ports() {
		for _, f := range p["fixed_ips"].([]map[string]any) {
			if f["subnet_id"] == o.ID {
				return netErrorf(http.StatusConflict, "SubnetInUse", "Unable to complete operation on subnet %s: One or more ports have an IP allocation from this subnet.", o.ID)
			}
		}
	}
	return nil
}

func (s *Server) makeRouter(o *netObject, in *netRequest) *netError {
	if in.External != nil {
		switch n := s.find("networks", in.External.Network); {
		case n == nil:
			return netErrorf(http.StatusNotFound, "NetworkNotFound", "Network %s could not be found.", in.External.Network)
		case n.ID != externalID:
			return netErrorf(http.StatusBadRequest, "BadRequest", "Bad router request: Network %s is not an external network.", n.ID)
		}
		o.Network = in.External.Network
	}
	o.Name, o.Description = in.Name, in.Description
	return nil
}

func (s *Server) showRouter(o *netObject) map[string]any {
	var gateway any
	if o.Network != "" {
		gateway = map[string]any{"network_id": o.Network, "enable_snat": true,
			"external_fixed_ips": []any{map[string]any{"subnet_id": externalSubnetID, "ip_address": "127.78.255.254"}}}
	}
	return o.common(map[string]any{"status": "ACTIVE", "admin_state_up": true, "external_gateway_info": gateway, "routes": []any{},
		"flavor_id": nil, "availability_zones": []string{}, "availability_zone_hints": []string{}})
}

func (s *Server) routerBusy(o *netObject) *netError {
	for _, port := range o.Ports {
		return netErrorf(http.StatusConflict, "RouterInUse", "Router %s has ports still attached: %s", o.ID, port)
	}
	return nil
}

// routerPorts serves how routers get into subnets and out of them.
func (s *Server) routerPorts() {
	routers := netKinds[slices.IndexFunc(netKinds, func(k *netKind) bool { return k.path == "routers" })]
	for _, verb := range []string{"add", "remove"} {
		s.aboutNet("PUT", routers, "/"+verb+"_router_interface", func(o *netObject, r *http.Request) (int, any, *netError) {
			var in struct {
				Subnet string `json:"subnet_id"`
			}
			if err := read(r, &in); err != nil {
				return 0, nil, netErrorf(http.StatusBadRequest, "HTTPBadRequest", "%v", err)
			}
			n, port := s.find("subnets", in.Subnet), o.Ports[in.Subnet]
			switch {
			case n == nil:
				return 0, nil, netErrorf(http.StatusNotFound, "SubnetNotFound", "Subnet %s could not be found.", in.Subnet)
			case verb == "add" && port != "":
				return 0, nil, netErrorf(http.StatusBadRequest, "BadRequest", "Bad router request: Router already has a port on subnet %s.", in.Subnet)
			case verb == "add":
				port = randomID()
				if o.Ports == nil { // read back without any
					o.Ports = map[string]string{}
				}
				o.Ports[in.Subnet] = port
			case port == "":
				return 0, nil, netErrorf(http.StatusNotFound, "RouterInterfaceNotFoundForSubnet", "Router %s has no interface on subnet %s", o.ID, in.Subnet)
			case s.floatsOver(n.Network):
				return 0, nil, netErrorf(http.StatusConflict, "RouterInterfaceInUseByFloatingIP",
					"Router interface for subnet %s on router %s cannot be deleted, as it is required by one or more floating IPs.", in.Subnet, o.ID)
			default:
				delete(o.Ports, in.Subnet)
			}
			s.save()
			return http.StatusOK, map[string]any{"id": o.ID, "tenant_id": projectID, "port_id": port, "network_id": n.Network, "subnet_id": n.ID, "subnet_ids": []string{n.ID}}, nil
		})
	}
}

// ports are those of servers that have an address, and of routers. The caller holds s.mu.
func (s *Server) ports() []map[string]any {
	var out []map[string]any
	add := func(id, network, subnet, address, device, owner string, groups []string) {
		out = append(out, map[string]any{"id": id, "name": "", "description": "", "tags": []string{}, "network_id": network, "tenant_id": projectID, "project_id": projectID,
			"device_id": device, "device_owner": owner, "mac_address": macOf(device), "admin_state_up": true, "status": "ACTIVE",
			"fixed_ips": []map[string]any{{"subnet_id": subnet, "ip_address": address}}, "security_groups": groups})
	}
	for _, id := range slices.Sorted(maps.Keys(s.st.Servers)) {
		v := s.st.Servers[id]
		if v.Address == "" || v.Apart {
			continue
		}
		subnet := ""
		for _, n := range s.netObjects("subnets") {
			if n.Network == v.network() {
				subnet = n.ID
			}
		}
		add(portOf(id), v.network(), subnet, v.Address, id, "compute:"+Zone, v.groups())
	}
	for _, r := range s.netObjects("routers") {
		for _, subnet := range slices.Sorted(maps.Keys(r.Ports)) {
			n := s.find("subnets", subnet)
			add(r.Ports[subnet], n.Network, subnet, n.Gateway, r.ID, "network:router_interface", []string{})
		}
	}
	return out
}

// portOf is the ID of a server's port: another UUID than the server's, the same each time.
func portOf(server string) string { return fmt.Sprintf("%08x%s", crc(server), server[8:]) }

// network is where the server's port is.
func (v *server) network() string {
	if v.Network == "" {
		return networkID
	}
	return v.Network
}

func (v *server) groups() []string {
	if len(v.Groups) == 0 {
		return []string{defaultGroupID}
	}
	return v.Groups
}
