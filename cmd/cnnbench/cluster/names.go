package cluster

import (
	"bufio"
	"context"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// HostsVariable names a file in the form of /etc/hosts that is looked into first. The sandbox sets
// it where pods cannot have an /etc/hosts of their own.
const HostsVariable = "DLX_SANDBOX_HOSTS"

// inHosts looks a name up in the file that HostsVariable names; "" if it is not there.
func inHosts(name string) string {
	f, err := os.Open(os.Getenv(HostsVariable))
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		line, _, _ := strings.Cut(s.Text(), "#")
		if w := strings.Fields(line); len(w) > 1 && slices.Contains(w[1:], name) {
			return w[0]
		}
	}
	return ""
}

// dialAddress is addr with the host that HostsVariable gives it.
func dialAddress(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := inHosts(host); ip != "" {
		return net.JoinHostPort(ip, port)
	}
	return addr
}

// ListenAddress is where the server listens that others reach at addr: on all addresses, as
// upstream does, but for a loopback address, of which the machines of a sandbox have one each so
// that they can share ports.
func ListenAddress(ctx context.Context, addr string) (string, error) {
	host, port, err := net.SplitHostPort(dialAddress(addr))
	if err != nil {
		return "", err
	}
	// A name that is not known here may be one that others know, such as that of a NAT.
	ips, _ := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if i := slices.IndexFunc(ips, netip.Addr.IsLoopback); i >= 0 {
		return net.JoinHostPort(ips[i].Unmap().String(), port), nil
	}
	return net.JoinHostPort("", port), nil
}
