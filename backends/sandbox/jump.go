package sandbox

import (
	"context"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// forwardTime bounds the opening of a connection for who is logged in.
const forwardTime = time.Minute

// forward serves a channel of type direct-tcpip (RFC 4254 section 7.2), as OpenSSH does by default.
func (m *machine) forward(n ssh.NewChannel) {
	var to struct {
		Host     string
		Port     uint32
		From     string
		FromPort uint32
	}
	if err := ssh.Unmarshal(n.ExtraData(), &to); err != nil {
		_ = n.Reject(ssh.ConnectionFailed, "malformed request")
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), forwardTime) //nolint:forbidigo // a connection of SSH has no context
	defer cancel()
	nc, err := m.dial(ctx, "tcp", net.JoinHostPort(to.Host, strconv.FormatUint(uint64(to.Port), 10)))
	if err != nil {
		_ = n.Reject(ssh.ConnectionFailed, "Connection refused")
		return
	}
	defer func() { _ = nc.Close() }()
	ch, reqs, err := n.Accept()
	if err != nil {
		return
	}
	go ssh.DiscardRequests(reqs)
	go func() {
		_, _ = io.Copy(ch, nc)
		_ = ch.Close()
	}()
	_, _ = io.Copy(nc, ch)
}

// A JumpHost is an SSH server of one user that forwards connections and runs nothing.
type JumpHost struct {
	m    *machine
	work sync.WaitGroup
	mu   sync.Mutex
	seen int
}

// StartJump starts a jump host that lets User in with a key, an authorized_keys line. Connections are
// forwarded by dial.
func StartJump(l net.Listener, host ssh.Signer, authorized string, dial func(ctx context.Context, network, addr string) (net.Conn, error)) *JumpHost {
	j := &JumpHost{}
	config := serverConfig([]ssh.Signer{host}, []string{authorized})
	config.AuthLogCallback = func(_ ssh.ConnMetadata, _ string, err error) {
		if err == nil {
			j.mu.Lock()
			j.seen++
			j.mu.Unlock()
		}
	}
	j.m = &machine{name: "jump host", config: config, listener: l, dial: dial, conns: map[net.Conn]bool{}, work: &j.work, log: func(string, ...any) {}}
	j.work.Go(j.m.serve)
	return j
}

// Logins is how many there have been.
func (j *JumpHost) Logins() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.seen
}

// Drop breaks every connection.
func (j *JumpHost) Drop() { j.m.drop() }

// Close ends the server with all its connections.
func (j *JumpHost) Close() {
	j.m.close()
	j.work.Wait()
}
