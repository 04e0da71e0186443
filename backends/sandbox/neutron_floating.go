package sandbox

import (
	"fmt"
	"hash/crc32"
	"net"
	"net/http"
	"strconv"
)

func crc(text string) uint32 { return crc32.ChecksumIEEE([]byte(text)) }

// makeFloating takes the next free address of the pool. What listens there leads to the server whose
// port the floating IP has.
func (s *Server) makeFloating(o *netObject, in *netRequest) *netError {
	switch n := s.find("networks", in.Pool); {
	case n == nil:
		return netErrorf(http.StatusNotFound, "NetworkNotFound", "Network %s could not be found.", in.Pool)
	case n.ID != externalID:
		return netErrorf(http.StatusBadRequest, "BadRequest", "Bad floatingip request: Network %s is not a valid external network.", n.ID)
	}
	o.Description, o.Network = in.Description, in.Pool
	if refused := s.associate(o, in); refused != nil {
		return refused
	}
	taken := map[string]bool{}
	for _, f := range s.netObjects("floatingips") {
		taken[f.Address] = true
	}
	for i := range s.cfg.Floating {
		o.Address = fmt.Sprintf("127.78.%d.%d", i/250, i%250+1)
		if !taken[o.Address] && s.listenFloating(o) == nil {
			return nil
		}
	}
	return netErrorf(http.StatusConflict, "IpAddressGenerationFailure", "No more IP addresses available on network %s.", in.Pool)
}

// associate gives a floating IP a server's port, or takes it away.
func (s *Server) associate(o *netObject, in *netRequest) *netError {
	if in.Port == nil {
		o.Port = ""
		return nil
	}
	for _, p := range s.ports() {
		if p["id"] != *in.Port {
			continue
		}
		network, fixed := p["network_id"].(string), p["fixed_ips"].([]map[string]any)[0]
		if !s.reachable(network) {
			return netErrorf(http.StatusNotFound, "ExternalGatewayForFloatingIPNotFound",
				"External network %s is not reachable from subnet %v.  Therefore, cannot associate Port %s with a Floating IP.", o.Network, fixed["subnet_id"], *in.Port)
		}
		for _, f := range s.netObjects("floatingips") {
			if f.Port == *in.Port && f.ID != o.ID {
				return netErrorf(http.StatusConflict, "FloatingIPPortAlreadyAssociated",
					"Cannot associate floating IP %s (%s) with port %s using fixed IP %v, as that fixed IP already has a floating IP on external network %s.",
					o.Address, o.ID, *in.Port, fixed["ip_address"], o.Network)
			}
		}
		o.Port = *in.Port
		return nil
	}
	return netErrorf(http.StatusNotFound, "PortNotFound", "Port %s could not be found.", *in.Port)
}

// reachable reports whether a router leads from the external network to another; the cloud has one for
// its own. The caller holds s.mu.
func (s *Server) reachable(network string) bool {
	for _, r := range s.netObjects("routers") {
		for subnet := range r.Ports {
			if n := s.find("subnets", subnet); r.Network != "" && n != nil && n.Network == network {
				return true
			}
		}
	}
	return network == networkID
}

// floatsOver reports whether a server of a network has a floating IP. The caller holds s.mu.
func (s *Server) floatsOver(network string) bool {
	for _, f := range s.netObjects("floatingips") {
		if v := s.serverAt(f.Port); v != nil && v.network() == network {
			return true
		}
	}
	return false
}

// serverAt is the server of a port, or nil. The caller holds s.mu.
func (s *Server) serverAt(port string) *server {
	for id, v := range s.st.Servers {
		if portOf(id) == port && v.Address != "" {
			return v
		}
	}
	return nil
}

func (s *Server) showFloating(o *netObject) map[string]any {
	var port, fixed, router any
	status := "DOWN"
	if v := s.serverAt(o.Port); v != nil {
		port, fixed, status = o.Port, v.Address, "ACTIVE"
		for _, r := range s.netObjects("routers") {
			for subnet := range r.Ports {
				if n := s.find("subnets", subnet); n != nil && n.Network == v.network() {
					router = r.ID
				}
			}
		}
	}
	out := o.common(map[string]any{"floating_ip_address": o.Address, "floating_network_id": o.Network, "port_id": port, "fixed_ip_address": fixed,
		"router_id": router, "status": status, "port_details": nil})
	delete(out, "name")
	return out
}

// listenFloating opens the address of a floating IP. The caller holds s.mu.
func (s *Server) listenFloating(o *netObject) error {
	if s.st.Port == 0 {
		s.st.Port = s.choosePort()
	}
	l, err := s.cfg.Listen(net.JoinHostPort(o.Address, strconv.Itoa(s.st.Port)))
	if err != nil {
		return err
	}
	s.floats[o.ID] = l
	s.work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			var m *machine
			if f := s.st.Nets[o.ID]; f != nil {
				if v := s.serverAt(f.Port); v != nil {
					m = s.machines[v.ID]
				}
			}
			s.mu.Unlock()
			if m == nil || !m.take(c) {
				_ = c.Close()
			}
		}
	})
	return nil
}

// floatingGone closes the address. The caller holds s.mu.
func (s *Server) floatingGone(o *netObject) {
	_ = s.floats[o.ID].Close()
	delete(s.floats, o.ID)
}
