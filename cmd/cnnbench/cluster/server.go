package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"

	"dlx.dev/dlx/cmd/cnnbench/nn"
)

// Server keeps a part of the parameters of a run.
type Server struct {
	hello   Hello // with Worker 0
	initial []float32
	make    func() (nn.Optimizer, error)

	mu      sync.Mutex
	changed sync.Cond // a step was applied, a barrier was passed, the run failed, or a new one began
	run     *session
	stopped bool
}

// session is the state of one run; the server's mutex guards it.
type session struct {
	params    []float32
	optimizer nn.Optimizer
	grads     [][]float32 // of each worker
	sum       []float32
	present   []bool
	pushed    int // workers that wait for the step
	steps     int // applied
	barred    int // workers that wait at the barrier
	barriers  int // passed
	failure   error
}

// NewServer makes a server that keeps initial, its part of the first parameters, for the run that hello names. optimizer
// makes an optimizer for that part; it is called once a run.
func NewServer(hello Hello, initial []float32, optimizer func() (nn.Optimizer, error)) (*Server, error) {
	hello.Worker = 0
	s := &Server{hello: hello, initial: initial, make: optimizer}
	s.changed.L = &s.mu
	return s, s.reset()
}

// reset forgets the run.
func (s *Server) reset() error {
	optimizer, err := s.make()
	if err != nil {
		return err
	}
	n := s.hello.Workers
	s.run = &session{
		params:    append([]float32(nil), s.initial...),
		optimizer: optimizer,
		grads:     make([][]float32, n),
		sum:       make([]float32, len(s.initial)),
		present:   make([]bool, n),
	}
	for i := range s.run.grads {
		s.run.grads[i] = make([]float32, len(s.initial))
	}
	return nil
}

// Serve takes workers from l until ctx ends, then closes l and all connections and returns the cause of ctx.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() }) // Accept then returns
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		wg.Go(func() {
			stop := context.AfterFunc(ctx, func() { _ = conn.Close(); s.halt() })
			defer stop()
			s.serve(conn)
		})
	}
}

// serve speaks with one worker until it goes.
func (s *Server) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }() // the worker is gone or knows
	r := bufio.NewReaderSize(conn, 1<<16)
	worker, err := s.join(r)
	if err != nil {
		_ = writeText(conn, 1, []byte(err.Error())) // a worker that cannot be told is gone
		return
	}
	if _, err = conn.Write([]byte{0}); err == nil {
		err = s.requests(conn, r, worker)
	}
	s.leave(worker, err)
	if err == nil {
		_, _ = conn.Write([]byte{0}) // the worker is gone either way
	}
}

// join reads a hello and takes the worker in.
func (s *Server) join(r io.Reader) (worker int, err error) {
	var kind [1]byte
	if _, err := io.ReadFull(r, kind[:]); err != nil {
		return 0, err
	}
	if kind[0] != kindHello {
		return 0, fmt.Errorf("first message is %q; want a hello", kind[0])
	}
	got, err := readHello(r)
	if err != nil {
		return 0, err
	}
	worker, got.Worker = got.Worker, 0
	if got != s.hello {
		return 0, fmt.Errorf("worker %d belongs to another run: %+v; this server's is %+v", worker, got, s.hello)
	}
	if worker < 0 || worker >= s.hello.Workers {
		return 0, fmt.Errorf("worker %d; want 0 to %d", worker, s.hello.Workers-1)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run.present[worker] {
		return 0, fmt.Errorf("worker %d is connected already", worker)
	}
	for s.run.failure != nil && !s.stopped { // the last run is ending
		s.changed.Wait()
	}
	if s.run.present[worker] || s.stopped {
		return 0, fmt.Errorf("worker %d came twice, or the server is stopping", worker)
	}
	s.run.present[worker] = true
	return worker, nil
}

// leave takes a worker out; err says why it went, nil if it said goodbye.
func (s *Server) leave(worker int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	run := s.run
	run.present[worker] = false
	if run.failure == nil {
		how := "has ended"
		if err != nil {
			how = "was lost"
		}
		run.failure = fmt.Errorf("worker %d %s after %d steps", worker, how, run.steps)
	}
	s.changed.Broadcast()
	if !slices.Contains(run.present, true) {
		_ = s.reset() // it made an optimizer of this kind before
	}
}

// halt ends the run for all workers.
func (s *Server) halt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	if s.run.failure == nil {
		s.run.failure = errors.New("the server is stopping")
	}
	s.changed.Broadcast()
}

// requests answers a worker until it says goodbye or is lost.
func (s *Server) requests(conn io.Writer, r *bufio.Reader, worker int) error {
	var f floats
	params := make([]float32, len(s.initial))
	for {
		kind, err := r.ReadByte()
		if err != nil {
			return err
		}
		switch kind {
		case kindFetch:
			s.mu.Lock()
			copy(params, s.run.params)
			s.mu.Unlock()
			if err := f.write(conn, 0, params); err != nil {
				return err
			}
			continue
		case kindPush:
			if err = f.read(r, s.run.grads[worker]); err != nil { // only this worker writes there, before it counts as pushed
				return err
			}
			err = s.push()
		case kindBarrier:
			err = s.barrier()
		case kindBye:
			return nil
		default:
			err = fmt.Errorf("unknown message %q", kind)
		}
		if err != nil {
			return errors.Join(err, writeText(conn, 1, []byte(err.Error())))
		}
		if _, err := conn.Write([]byte{0}); err != nil {
			return err
		}
	}
}

// push counts a worker's gradient as there and returns when the step is applied.
func (s *Server) push() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	run := s.run
	if run.failure != nil {
		return run.failure
	}
	run.pushed++
	if run.pushed == len(run.grads) {
		run.apply()
		s.changed.Broadcast()
		return nil
	}
	for step := run.steps; run.steps == step; {
		if run.failure != nil {
			return run.failure
		}
		s.changed.Wait()
	}
	return nil
}

// apply takes the step: the workers' gradients are added in their order.
func (run *session) apply() {
	copy(run.sum, run.grads[0])
	for _, g := range run.grads[1:] {
		for i, v := range g {
			run.sum[i] += v
		}
	}
	share := 1 / float32(len(run.grads))
	for i := range run.sum {
		run.sum[i] *= share
	}
	run.optimizer.Apply(run.params, run.sum)
	run.pushed = 0
	run.steps++
}

// barrier returns when all workers have called it.
func (s *Server) barrier() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	run := s.run
	if run.failure != nil {
		return run.failure
	}
	run.barred++
	if run.barred == len(run.grads) {
		run.barred = 0
		run.barriers++
		s.changed.Broadcast()
		return nil
	}
	for passed := run.barriers; run.barriers == passed; {
		if run.failure != nil {
			return run.failure
		}
		s.changed.Wait()
	}
	return nil
}
