package pipenet

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// room is how much one direction of a connection holds before a writer has to wait. It is more
// than a full SSH channel window of x/crypto/ssh takes between two reads.
const room = 1 << 20

// half is one direction of a connection.
type half struct {
	mu     sync.Mutex
	wake   *sync.Cond
	buf    []byte
	eof    bool // the writing end was closed: what is in buf can still be read
	broken bool // the reading end was closed, or the network cut the connection

	read, write deadline
}

// A deadline ends waiting: its timer only wakes those who wait.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func newHalf() *half {
	h := &half{}
	h.wake = sync.NewCond(&h.mu)
	return h
}

func (h *half) get(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.broken:
			return 0, net.ErrClosed
		case h.read.passed():
			return 0, os.ErrDeadlineExceeded
		case len(h.buf) > 0:
			n := copy(p, h.buf)
			h.buf = h.buf[n:]
			h.wake.Broadcast()
			return n, nil
		case h.eof:
			return 0, io.EOF
		case len(p) == 0:
			return 0, nil
		}
		h.wake.Wait()
	}
}

func (h *half) put(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	done := 0
	for {
		switch {
		case h.broken || h.eof:
			return done, io.ErrClosedPipe
		case h.write.passed():
			return done, os.ErrDeadlineExceeded
		}
		n := min(len(p)-done, room-len(h.buf))
		h.buf = append(h.buf, p[done:done+n]...)
		done += n
		if n > 0 {
			h.wake.Broadcast()
		}
		if done == len(p) {
			return done, nil
		}
		h.wake.Wait()
	}
}

// finish ends the writing side; what was written can still be read.
func (h *half) finish() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.eof = true
	h.stopTimers()
	h.wake.Broadcast()
}

// cut ends both sides at once and drops what is on its way.
func (h *half) cut() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.broken, h.buf = true, nil
	h.stopTimers()
	h.wake.Broadcast()
}

func (h *half) stopTimers() {
	for _, d := range []*deadline{&h.read, &h.write} {
		if d.timer != nil {
			d.timer.Stop()
		}
	}
}

func (h *half) set(d *deadline, t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d.at = t
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	// What has passed shows at once. A timer of no time would run at once too, beside others of its bubble,
	// which crashes Go 1.26's race detector.
	if wait := time.Until(t); !t.IsZero() && !h.broken && wait > 0 {
		d.timer = time.AfterFunc(wait, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.wake.Broadcast()
		})
	}
	h.wake.Broadcast()
}

// An Addr is a name in a Network.
type Addr string

// Network is "pipe".
func (Addr) Network() string { return "pipe" }

func (a Addr) String() string { return string(a) }

// conn is one end of a connection.
type conn struct {
	in, out       *half
	local, remote Addr
}

// Pipe gives the two ends of a connection. Closing an end lets the other read what was written
// before, then io.EOF; its writes fail at once.
func Pipe() (net.Conn, net.Conn) {
	a, b := pair("pipe", "pipe")
	return a, b
}

func pair(a, b Addr) (*conn, *conn) {
	x, y := newHalf(), newHalf()
	return &conn{in: x, out: y, local: a, remote: b}, &conn{in: y, out: x, local: b, remote: a}
}

func (c *conn) Read(p []byte) (int, error)  { return c.in.get(p) }
func (c *conn) Write(p []byte) (int, error) { return c.out.put(p) }

func (c *conn) Close() error {
	c.out.finish()
	c.in.cut()
	return nil
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) SetDeadline(t time.Time) error {
	c.in.set(&c.in.read, t)
	c.out.set(&c.out.write, t)
	return nil
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.set(&c.in.read, t)
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.set(&c.out.write, t)
	return nil
}
