package pipenet

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
)

// backlog is how many connections may wait for Accept, as the second argument of listen(2).
const backlog = 128

// A Network holds listeners by address. The zero value is an empty one. Addresses are compared
// as text: "127.0.0.1:22" and "localhost:22" are two.
type Network struct {
	mu        sync.Mutex
	listeners map[string]*listener
	conns     map[*conn]string // the accepted ends, with the address they were dialled at
}

// listener is one address of a Network.
type listener struct {
	net    *Network
	addr   string
	queue  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// Listen takes an address. An address in use is syscall.EADDRINUSE.
func (n *Network) Listen(addr string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[addr] != nil {
		return nil, fmt.Errorf("listen pipe %s: %w", addr, syscall.EADDRINUSE)
	}
	if n.listeners == nil {
		n.listeners = map[string]*listener{}
	}
	l := &listener{net: n, addr: addr, queue: make(chan net.Conn, backlog), closed: make(chan struct{})}
	n.listeners[addr] = l
	return l, nil
}

// DialContext connects to a listener of the network; its form is the one of
// http.Transport.DialContext. Nobody listening is syscall.ECONNREFUSED.
func (n *Network) DialContext(ctx context.Context, _, addr string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[addr]
	n.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("dial pipe %s: %w", addr, syscall.ECONNREFUSED)
	}
	client, server := pair("pipe", Addr(addr))
	select {
	case <-l.closed:
		return nil, fmt.Errorf("dial pipe %s: %w", addr, syscall.ECONNREFUSED)
	default:
	}
	select {
	case l.queue <- &accepted{conn: server, net: n}:
		n.keep(server, addr)
		return client, nil
	case <-l.closed:
		return nil, fmt.Errorf("dial pipe %s: %w", addr, syscall.ECONNREFUSED)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Listening lists the addresses that are taken, for tests that nothing was left.
func (n *Network) Listening() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []string
	for a := range n.listeners {
		out = append(out, a)
	}
	return out
}

// Cut breaks every connection to an address, as a network that fails does: both ends see an
// error at once, and what was on its way is lost. The listener stays.
func (n *Network) Cut(addr string) {
	n.mu.Lock()
	var cut []*conn
	for c, a := range n.conns {
		if a == addr {
			cut = append(cut, c)
			delete(n.conns, c)
		}
	}
	n.mu.Unlock()
	for _, c := range cut {
		c.in.cut()
		c.out.cut()
	}
}

func (n *Network) keep(c *conn, addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conns == nil {
		n.conns = map[*conn]string{}
	}
	n.conns[c] = addr
}

func (n *Network) drop(c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

// accepted is the server's end, which the network forgets when it is closed.
type accepted struct {
	*conn
	net *Network
}

func (a *accepted) Close() error {
	a.net.drop(a.conn)
	return a.conn.Close()
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close frees the address; connections that were accepted stay, those that wait are refused.
func (l *listener) Close() error {
	l.once.Do(func() {
		l.net.mu.Lock()
		delete(l.net.listeners, l.addr)
		l.net.mu.Unlock()
		close(l.closed)
		for {
			select {
			case c := <-l.queue:
				_ = c.Close()
			default:
				return
			}
		}
	})
	return nil
}

func (l *listener) Addr() net.Addr { return Addr(l.addr) }
