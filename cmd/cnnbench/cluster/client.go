package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// retryEvery is how long a worker waits before it calls again a server that is not up yet.
const retryEvery = 100 * time.Millisecond

// Client is a worker's side of a run: a connection to each server. Its methods must not be called at the same time, but
// for Close. After an error only Close may be called. An end of the context that [Dial] was given ends all calls.
type Client struct {
	servers []*remote
	size    int
}

// remote is one server.
type remote struct {
	addr     string
	conn     net.Conn
	r        *bufio.Reader
	f        floats
	from, to int // its part of the parameters
	stop     func() bool
}

// Dial connects to the servers in the order that all processes of the run agree on, and waits for those that are not up
// yet until ctx ends. It sets hello's Server and Servers.
func Dial(ctx context.Context, addrs []string, hello Hello) (*Client, error) {
	c := &Client{size: hello.Size}
	for i, addr := range addrs {
		hello.Server, hello.Servers = i, len(addrs)
		r := &remote{addr: addr}
		r.from, r.to = Part(hello.Size, i, len(addrs))
		if err := r.dial(ctx, hello); err != nil {
			return nil, errors.Join(r.wrap(err), c.Close())
		}
		c.servers = append(c.servers, r)
	}
	return c, nil
}

func (r *remote) dial(ctx context.Context, hello Hello) error {
	var d net.Dialer
	for {
		conn, err := d.DialContext(ctx, "tcp", dialAddress(r.addr))
		if err == nil {
			r.conn = conn
			break
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(retryEvery):
		}
	}
	r.stop = context.AfterFunc(ctx, func() { _ = r.conn.Close() }) // calls then return
	r.r = bufio.NewReaderSize(r.conn, 1<<16)
	text, err := json.Marshal(hello)
	if err == nil {
		err = writeText(r.conn, kindHello, text)
	}
	if err == nil {
		err = readAnswer(r.r)
	}
	if err != nil {
		r.stop()
		_ = r.conn.Close() // the first error counts
	}
	return err
}

func (r *remote) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("parameter server %s: %w", r.addr, err)
}

// each calls f for all servers at the same time and returns when all have answered.
func (c *Client) each(f func(r *remote) error) error {
	if len(c.servers) == 1 {
		return c.servers[0].wrap(f(c.servers[0]))
	}
	errs := make([]error, len(c.servers))
	var wg sync.WaitGroup
	for i, r := range c.servers {
		wg.Go(func() { errs[i] = r.wrap(f(r)) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err // one cause is enough: a lost worker is lost for all servers
		}
	}
	return nil
}

// Fetch fills params with the parameters of the whole model.
func (c *Client) Fetch(params []float32) error {
	return c.each(func(r *remote) error {
		if _, err := r.conn.Write([]byte{kindFetch}); err != nil {
			return err
		}
		if err := readAnswer(r.r); err != nil {
			return err
		}
		return r.f.read(r.r, params[r.from:r.to])
	})
}

// Push sends the gradient of the whole model and returns when the step of all workers is applied.
func (c *Client) Push(grads []float32) error {
	return c.each(func(r *remote) error {
		if err := r.f.write(r.conn, kindPush, grads[r.from:r.to]); err != nil {
			return err
		}
		return readAnswer(r.r)
	})
}

// Barrier returns when all workers have called it.
func (c *Client) Barrier() error {
	return c.each(func(r *remote) error {
		if _, err := r.conn.Write([]byte{kindBarrier}); err != nil {
			return err
		}
		return readAnswer(r.r)
	})
}

// Close says goodbye to the servers and closes the connections.
func (c *Client) Close() error {
	for _, r := range c.servers {
		// A server that is gone needs no goodbye, and after it nothing is left to send or to lose.
		if _, err := r.conn.Write([]byte{kindBye}); err == nil {
			_ = readAnswer(r.r)
		}
		r.stop()
		_ = r.conn.Close()
	}
	c.servers = nil
	return nil
}
