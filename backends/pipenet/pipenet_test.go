package pipenet_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"dlx.dev/dlx/backends/pipenet"
)

// connect gives both ends of a connection over a network.
func connect(t *testing.T, n *pipenet.Network) (client, server net.Conn) {
	t.Helper()
	l, err := n.Listen("10.0.0.1:22")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	client, err = n.DialContext(t.Context(), "tcp", "10.0.0.1:22")
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return client, server
}

func TestBothEndsMayWriteFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := connect(t, &pipenet.Network{})
		for _, c := range []net.Conn{a, b} {
			if _, err := c.Write([]byte("SSH-2.0\r\n")); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []net.Conn{a, b} {
			buf := make([]byte, 9)
			if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "SSH-2.0\r\n" {
				t.Errorf("got %q, %v", buf, err)
			}
		}
	})
}

func TestLargeWritesWaitForTheReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := connect(t, &pipenet.Network{})
		want := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
		go func() {
			if n, err := a.Write(want); n != len(want) || err != nil {
				t.Errorf("got %d, %v", n, err)
			}
			a.Close()
		}()
		got, err := io.ReadAll(b)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("got %d bytes, %v; want %d", len(got), err, len(want))
		}
	})
}

func TestDeadlinesEndWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := connect(t, &pipenet.Network{})
		start := time.Now()
		a.SetReadDeadline(start.Add(time.Hour))
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Hour {
			t.Errorf("read: got %v after %v", err, time.Since(start))
		}
		a.SetDeadline(time.Now().Add(time.Minute))
		start = time.Now()
		if _, err := a.Write(make([]byte, 2<<20)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("write: got %v after %v", err, time.Since(start))
		}
		a.SetDeadline(time.Time{})
	})
}

func TestCloseLetsTheRestBeRead(t *testing.T) {
	a, b := connect(t, &pipenet.Network{})
	a.Write([]byte("last"))
	a.Close()
	if got, err := io.ReadAll(b); string(got) != "last" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := b.Write([]byte("x")); err == nil {
		t.Error("writing to a closed end worked")
	}
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("reading the closed end: got %v", err)
	}
}

func TestCutLosesWhatIsOnItsWay(t *testing.T) {
	n := &pipenet.Network{}
	a, b := connect(t, n)
	a.Write([]byte("lost"))
	n.Cut("10.0.0.1:22")
	if got, err := io.ReadAll(b); len(got) != 0 || err == nil {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := a.Read(make([]byte, 1)); err == nil {
		t.Error("the other end did not notice")
	}
}

func TestAddresses(t *testing.T) {
	n := &pipenet.Network{}
	l, err := n.Listen("m:22")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Listen("m:22"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("twice: got %v", err)
	}
	if _, err := n.DialContext(t.Context(), "tcp", "other:22"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody there: got %v", err)
	}
	l.Close()
	l.Close()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept after close: got %v", err)
	}
	if got := n.Listening(); len(got) != 0 {
		t.Errorf("got %v listening", got)
	}
	if l.Addr().String() != "m:22" || l.Addr().Network() != "pipe" {
		t.Errorf("got address %v", l.Addr())
	}
}

func TestDialStopsWithItsContext(t *testing.T) {
	n := &pipenet.Network{}
	l, err := n.Listen("full:1")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	for range 128 {
		if _, err := n.DialContext(ctx, "tcp", "full:1"); err != nil {
			t.Fatal(err)
		}
	}
	cancel(why)
	if _, err := n.DialContext(ctx, "tcp", "full:1"); !errors.Is(err, why) {
		t.Errorf("got %v; want %v", err, why)
	}
}
