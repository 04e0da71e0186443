package kubernetes

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/gorilla/websocket"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
)

// A command runs in a container of a pod.
type command struct {
	ns, pod string
	words   []string
	stdin   io.Reader // nil: none
	stdout  io.Writer
	stderr  io.Writer
}

// exec runs a command and gives its exit status; -1 with an error if it has not ended by itself.
// It goes over a WebSocket, and over SPDY where the server, or a proxy before it, refuses the
// former (servers before 1.30 do not know the protocol's version 5).
func (c *client) exec(ctx context.Context, cmd command) (int, error) {
	req := c.at(c.core.Post(), pods, cmd.ns).Name(cmd.pod).SubResource("exec").VersionedParams(&corev1.PodExecOptions{
		Command: cmd.words, Stdin: cmd.stdin != nil, Stdout: true, Stderr: true,
	}, scheme().params)
	primary := &socket{c: c, url: req.URL()}
	run := func(ctx context.Context, o remotecommand.StreamOptions) error {
		return primary.StreamWithContext(ctx, o)
	}
	if c.cfg.Dial == nil { // SPDY of client-go knows no other way to dial
		spdy, err := remotecommand.NewSPDYExecutor(c.cfg, http.MethodPost, req.URL())
		if err != nil {
			return -1, err
		}
		both, err := remotecommand.NewFallbackExecutor(primary, spdy, func(err error) bool {
			var u *upgradeError
			return errors.As(err, &u) && (u.answer == nil || u.answer.Code == http.StatusBadRequest)
		})
		if err != nil {
			return -1, err
		}
		run = both.StreamWithContext
	}
	err := run(ctx, remotecommand.StreamOptions{Stdin: cmd.stdin, Stdout: cmd.stdout, Stderr: cmd.stderr})
	var code interface{ ExitStatus() int }
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &code):
		return code.ExitStatus(), nil
	}
	return -1, err
}

// The streams of the protocol: the first byte of a message.
const (
	toStdin    = 0
	fromStdout = 1
	fromStderr = 2
	fromStatus = 3   // the last message: a metav1.Status
	endOf      = 255 // followed by the stream that ends; new in version 5
)

const protocol = "v5.channel.k8s.io"

// socket is an exec over a WebSocket. Unlike client-go's it dials as the cluster's other
// connections do, ends its connection with its context, and leaves no goroutine behind.
type socket struct {
	c   *client
	url *url.URL
}

// An upgradeError is the answer of a server that makes no WebSocket of a request.
type upgradeError struct {
	status string
	answer *metav1.Status // what the API server refused; nil: something else did
}

func (e *upgradeError) Error() string {
	if e.answer != nil {
		return e.answer.Message
	}
	return "no WebSocket: " + e.status
}

// Status lets the answer be judged as any other's.
func (e *upgradeError) Status() metav1.Status {
	if e.answer != nil {
		return *e.answer
	}
	return metav1.Status{Code: http.StatusBadGateway, Message: e.Error()}
}

// exitStatus is a command that ended with another status than 0.
type exitStatus int

func (e exitStatus) Error() string   { return fmt.Sprintf("exit status %d", int(e)) }
func (e exitStatus) ExitStatus() int { return int(e) }

// Stream implements remotecommand.Executor; nobody calls it.
func (s *socket) Stream(remotecommand.StreamOptions) error {
	return errors.New("a context is needed")
}

// StreamWithContext implements remotecommand.Executor.
func (s *socket) StreamWithContext(ctx context.Context, o remotecommand.StreamOptions) error {
	conn, err := s.dial(ctx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	sent := make(chan struct{})
	if o.Stdin != nil {
		go func() {
			defer close(sent)
			send(conn, o.Stdin)
		}()
	} else {
		close(sent)
	}
	err = receive(conn, o)
	stop()
	_ = conn.Close()
	<-sent // its reader belongs to the caller again
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// chunk is what is put into one message: client-go's size, below any server's limit.
const chunk = 32 << 10

// send sends all of a reader. Errors show when receiving.
func send(conn *websocket.Conn, r io.Reader) {
	buf := make([]byte, 1+chunk)
	for {
		n, err := r.Read(buf[1:])
		if n > 0 {
			buf[0] = toStdin
			if conn.WriteMessage(websocket.BinaryMessage, buf[:1+n]) != nil {
				return
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			_ = conn.WriteMessage(websocket.BinaryMessage, []byte{endOf, toStdin})
			return
		case err != nil:
			_ = conn.Close() // what was sent is not all: the command must not take it for that
			return
		}
	}
}

// receive hands out what comes, until the status, which it gives as an error.
func receive(conn *websocket.Conn, o remotecommand.StreamOptions) error {
	for {
		_, r, err := conn.NextReader()
		if err != nil {
			return fmt.Errorf("exec: the connection ended before the command: %w", err)
		}
		var stream [1]byte
		if _, err := io.ReadFull(r, stream[:]); err != nil {
			if errors.Is(err, io.EOF) {
				continue // an empty message
			}
			return fmt.Errorf("exec: %w", err)
		}
		var to io.Writer
		switch stream[0] {
		case fromStdout:
			to = o.Stdout
		case fromStderr:
			to = o.Stderr
		case fromStatus:
			return statusOf(r)
		}
		if to == nil {
			to = io.Discard
		}
		if _, err := io.Copy(to, r); err != nil {
			return fmt.Errorf("exec: %w", err)
		}
	}
}

// statusOf reads the status of a command.
func statusOf(r io.Reader) error {
	var s metav1.Status
	if err := json.NewDecoder(io.LimitReader(r, 1<<20)).Decode(&s); err != nil {
		return fmt.Errorf("exec: the status is unreadable: %w", err)
	}
	if s.Status == metav1.StatusSuccess {
		return nil
	}
	if s.Reason == "NonZeroExitCode" && s.Details != nil {
		for _, cause := range s.Details.Causes {
			var code int
			if cause.Type == "ExitCode" {
				if _, err := fmt.Sscan(cause.Message, &code); err == nil {
					return exitStatus(code)
				}
			}
		}
	}
	return fmt.Errorf("exec: %s", s.Message)
}

// dial opens the WebSocket with the login of the cluster.
func (s *socket) dial(ctx context.Context) (*websocket.Conn, error) {
	up := &upgrade{dialer: websocket.Dialer{
		Proxy: s.c.cfg.Proxy, NetDialContext: s.c.cfg.Dial, Subprotocols: []string{protocol},
		ReadBufferSize: chunk + 1024, WriteBufferSize: chunk + 1024,
	}}
	if up.dialer.NetDialContext == nil {
		up.dialer.NetDialContext = (&net.Dialer{}).DialContext
	}
	if s.c.tls != nil {
		up.dialer.TLSClientConfig = s.c.tls.Clone()
	} else {
		up.dialer.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	// The wrappers add the login to the request, and renew it when it is refused.
	wrapped, err := rest.HTTPWrappersForConfig(s.c.cfg, up)
	if err != nil {
		return nil, err
	}
	wrapped = s.c.renewing(wrapped)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := wrapped.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if up.conn == nil {
		return nil, notUpgraded(resp)
	}
	return up.conn, nil // and the body is empty
}

// upgrade is a RoundTripper that makes a WebSocket of one request. Without one the answer is a refusal.
type upgrade struct {
	dialer websocket.Dialer
	conn   *websocket.Conn
}

func (u *upgrade) RoundTrip(r *http.Request) (*http.Response, error) {
	at := *r.URL
	at.Scheme = map[string]string{"https": "wss", "http": "ws"}[at.Scheme]
	conn, resp, err := u.dialer.DialContext(r.Context(), at.String(), r.Header)
	switch {
	case err == nil && conn.Subprotocol() == protocol:
		u.conn = conn
		return resp, nil
	case err == nil:
		_ = conn.Close()
		return nil, &upgradeError{status: fmt.Sprintf("the server speaks %q, not %s", conn.Subprotocol(), protocol)}
	case !errors.Is(err, websocket.ErrBadHandshake) || resp == nil:
		return nil, err
	}
	return resp, nil
}

// notUpgraded reads why a server makes no WebSocket of a request.
func notUpgraded(resp *http.Response) error {
	refused := &upgradeError{status: resp.Status}
	var s metav1.Status
	if json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&s) == nil && s.Kind == "Status" && s.Code > 0 {
		if s.Code == http.StatusForbidden && !strings.Contains(s.Message, "cannot ") { // servers leave out what is lacking
			s.Message = strings.TrimRight(s.Message, ": ") + `; it takes the verbs create and get on resource "pods/exec"`
		}
		refused.answer = &s
	}
	return refused
}
