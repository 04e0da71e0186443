package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// signals turns interrupts into the executor's two ways of ending: the first closes drain, the
// second ends ctx.
type signals struct {
	ctx   context.Context
	drain chan struct{}
	stop  func()

	mu    sync.Mutex
	count int
	first os.Signal
}

var (
	errInterruptedTwice = errors.New("interrupted twice")
	errTerminated       = errors.New("terminated")
)

// watchSignals handles signals until stop. inPod: a SIGTERM stops now, for whoever evicts a pod waits
// seconds, and another pod takes the run up.
func watchSignals(parent context.Context, show *progress, inPod bool) *signals {
	ctx, cancel := context.WithCancelCause(parent)
	s := &signals{ctx: ctx, drain: make(chan struct{})}
	ch := make(chan os.Signal, 4)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case sig := <-ch:
				s.mu.Lock()
				s.count++
				n := s.count
				if n == 1 {
					s.first = sig
				}
				s.mu.Unlock()
				if inPod && sig == syscall.SIGTERM {
					cancel(errTerminated)
				} else if n == 1 {
					show.say("interrupted: finishing the trials that run, then releasing; interrupt again to stop now")
					close(s.drain)
				} else {
					cancel(errInterruptedTwice)
				}
			case <-done:
				return
			}
		}
	}()
	s.stop = func() {
		signal.Stop(ch)
		close(done)
		cancel(nil)
	}
	return s
}

// received counts the signals so far.
func (s *signals) received() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// code is the exit code by the first signal.
func (s *signals) code() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first == syscall.SIGTERM {
		return exitTerminated
	}
	return exitInterrupted
}
