package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"dlx.dev/dlx/cmd/cnnbench/nn"
)

// start starts servers for a run of two workers with size parameters, all zero, and returns their addresses.
func start(t *testing.T, size, servers int) (addrs []string, hello Hello) {
	t.Helper()
	hello = Hello{Model: "m", Size: size, Servers: servers, Workers: 2}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	for i := range servers {
		hello.Server = i
		from, to := Part(size, i, servers)
		s, err := NewServer(hello, make([]float32, to-from), func() (nn.Optimizer, error) {
			return nn.NewOptimizer("sgd", to-from, 1, 0)
		})
		if err != nil {
			t.Fatal(err)
		}
		var lc net.ListenConfig
		l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, l.Addr().String())
		wg.Go(func() {
			if err := s.Serve(ctx, l); !errors.Is(err, context.Canceled) {
				t.Errorf("Serve: got %v; want %v", err, context.Canceled)
			}
		})
	}
	return addrs, hello
}

// dial connects worker i.
func dial(t *testing.T, addrs []string, hello Hello, i int) *Client {
	t.Helper()
	hello.Worker = i
	c, err := Dial(t.Context(), addrs, hello)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// together calls f for all clients at the same time.
func together(t *testing.T, clients []*Client, f func(i int, c *Client) error) {
	t.Helper()
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() {
			if err := f(i, c); err != nil {
				t.Errorf("worker %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

func TestStepAppliesTheMeanOfAllWorkers(t *testing.T) {
	const size = 10
	addrs, hello := start(t, size, 3)
	for range 2 { // a second run finds the servers as new
		clients := []*Client{dial(t, addrs, hello, 0), dial(t, addrs, hello, 1)}
		for step := range 2 {
			together(t, clients, func(i int, c *Client) error {
				g := make([]float32, size)
				for k := range g {
					g[k] = float32(k * (i + 1))
				}
				if err := c.Push(g); err != nil {
					return err
				}
				got := make([]float32, size)
				if err := c.Fetch(got); err != nil {
					return err
				}
				for k, v := range got {
					if want := -1.5 * float32(k*(step+1)); v != want {
						t.Errorf("parameter %d after step %d: got %v; want %v", k, step, v, want)
					}
				}
				return c.Barrier()
			})
		}
		for _, c := range clients {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// A worker that has gone, or is lost, is a failure for those that wait for it, and for those that come to wait.
func TestNobodyWaitsForAWorkerThatIsGone(t *testing.T) {
	leave := map[string]struct {
		by   func(c *Client) error
		want string
	}{
		"by goodbye": {(*Client).Close, "worker 1 has ended after 0 steps"},
		"without a word": {
			func(c *Client) error {
				var errs []error
				for _, r := range c.servers {
					errs = append(errs, r.conn.Close())
				}
				return errors.Join(errs...)
			},
			"worker 1 was lost after 0 steps",
		},
	}
	wait := map[string]func(c *Client) error{
		"in a step":    func(c *Client) error { return c.Push(make([]float32, 4)) },
		"at a barrier": (*Client).Barrier,
	}
	for how, gone := range leave {
		for where, call := range wait {
			t.Run(how+", waited for "+where, func(t *testing.T) {
				addrs, hello := start(t, 4, 1)
				stays, goes := dial(t, addrs, hello, 0), dial(t, addrs, hello, 1)
				ended := make(chan error)
				go func() { ended <- call(stays) }()
				if err := gone.by(goes); err != nil {
					t.Fatal(err)
				}
				err := <-ended
				if want := "parameter server " + addrs[0] + ": refused: " + gone.want; err == nil || err.Error() != want || !errors.Is(err, ErrRefused) {
					t.Errorf("got  %v\nwant %s", err, want)
				}
				if err := stays.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// talk sends bytes to a server and returns the complaint that it answers with.
func talk(t *testing.T, addr string, message []byte) string {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write(message); err != nil {
		t.Fatal(err)
	}
	err = readAnswer(conn)
	if !errors.Is(err, ErrRefused) {
		t.Fatalf("answer to %q: got %v; want a complaint", message, err)
	}
	return err.Error()
}

func TestServerRefusesWhatItDoesNotKnow(t *testing.T) {
	addrs, hello := start(t, 4, 1)
	text := func(length byte, s string) []byte { return append([]byte{'H', length, 0, 0, 0}, s...) }
	tests := map[string]struct {
		message []byte
		want    string
	}{
		"a browser":           {[]byte("GET / HTTP/1.1\r\n"), `first message is 'G'; want a hello`},
		"a hello too long":    {[]byte{'H', 0, 0, 1, 0}, "text of 65536 bytes; at most 4096 are allowed"},
		"a hello of no JSON":  {text(1, "x"), "invalid character 'x' looking for beginning of value"},
		"another run":         {text(2, "{}"), "worker 0 belongs to another run: "},
		"a hello that is cut": {text(1, "{"), "unexpected end of JSON input"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := talk(t, addrs[0], tt.message); !strings.Contains(got, tt.want) {
				t.Errorf("got %q; want it to contain %q", got, tt.want)
			}
		})
	}
	hello.Worker = 2
	if _, err := Dial(t.Context(), addrs, hello); err == nil || !strings.Contains(err.Error(), "worker 2; want 0 to 1") {
		t.Errorf("a worker beyond all: got %v; want a complaint", err)
	}
	hello.Worker = 1
	c := dial(t, addrs, hello, 1)
	if _, err := Dial(t.Context(), addrs, hello); err == nil || !strings.Contains(err.Error(), "worker 1 is connected already") {
		t.Errorf("a worker that is there: got %v; want a complaint", err)
	}
	if _, err := c.servers[0].conn.Write([]byte("?")); err != nil {
		t.Fatal(err)
	}
	if err := readAnswer(c.servers[0].r); err == nil || !strings.Contains(err.Error(), "unknown message '?'") {
		t.Errorf("an unknown message: got %v; want a complaint", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestWorkerOfTheNextRunWaitsForTheLastToEnd(t *testing.T) {
	addrs, hello := start(t, 4, 1)
	old0, old1 := dial(t, addrs, hello, 0), dial(t, addrs, hello, 1)
	if err := old0.Close(); err != nil {
		t.Fatal(err)
	}
	came := make(chan *Client)
	go func() {
		c, err := Dial(t.Context(), addrs, hello) // worker 0
		if err != nil {
			t.Error(err)
		}
		came <- c
	}()
	if err := old1.Barrier(); !errors.Is(err, ErrRefused) {
		t.Errorf("barrier of the last run: got %v; want a refusal", err)
	}
	if err := old1.Close(); err != nil {
		t.Fatal(err)
	}
	next := []*Client{<-came, dial(t, addrs, hello, 1)}
	together(t, next, func(_ int, c *Client) error { return c.Push(make([]float32, 4)) })
	for _, c := range next {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestEndOfTheContextEndsCalls(t *testing.T) {
	addrs, hello := start(t, 4, 2)
	ctx, cancel := context.WithCancel(t.Context())
	c, err := Dial(ctx, addrs, hello)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- c.Barrier() }()
	cancel()
	if err := <-ended; err == nil {
		t.Error("barrier: got no error; want one")
	}
	if _, err := Dial(ctx, []string{"127.0.0.1:1"}, hello); !errors.Is(err, context.Canceled) {
		t.Errorf("dial: got %v; want %v", err, context.Canceled)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestPartsCoverAll(t *testing.T) {
	for size := range 20 {
		for n := 1; n < 6; n++ {
			at := 0
			for i := range n {
				from, to := Part(size, i, n)
				if from != at || to < from {
					t.Errorf("part %d of %d of %d: got %d to %d; want it to begin at %d", i, n, size, from, to, at)
				}
				at = to
			}
			if at != size {
				t.Errorf("%d parts of %d: got %d in all", n, size, at)
			}
		}
	}
}

func TestFloatsComeBackAsWritten(t *testing.T) {
	want := []float32{0, 1.5, -3e38, 1e-45}
	var b bytes.Buffer
	var f floats
	if err := f.write(&b, 7, want); err != nil {
		t.Fatal(err)
	}
	got := make([]float32, len(want))
	var other floats
	if lead, _ := b.ReadByte(); lead != 7 || other.read(&b, got) != nil || !slices.Equal(got, want) {
		t.Errorf("got %v after %d; want %v after 7", got, lead, want)
	}
	if err := other.read(&b, got); err == nil {
		t.Error("at the end: got no error; want one")
	}
}

// FuzzReadHello reads any bytes as a hello: it must end without a panic, and what it reads must come back as written.
func FuzzReadHello(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0, '{', '}'})
	f.Add([]byte{0, 0, 1, 0})
	f.Add([]byte("\x1f\x00\x00\x00{\"Model\":\"alexnet\",\"Workers\":2}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readHello(bytes.NewReader(b))
		if err != nil {
			return
		}
		text, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		var w bytes.Buffer
		if err := writeText(&w, kindHello, text); err != nil {
			t.Fatal(err)
		}
		w.Next(1)
		if again, err := readHello(&w); len(text) <= maxText && (err != nil || again != h) {
			t.Errorf("written and read again: got %+v, %v; want %+v", again, err, h)
		}
	})
}
