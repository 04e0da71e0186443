//go:build !linux

package sandbox

import (
	"errors"
	"syscall"
	"time"
)

func sessionAttr() *syscall.SysProcAttr { return nil }

func namespaceAttr() *syscall.SysProcAttr { return nil }

func tryNamespaces(string) error { return errors.New("no namespaces here") }

func childOf(int) int { return 0 }

func terminate(int, bool) {}

func killMarked(string) {}

type waiter struct {
	pace  time.Duration
	waits map[int]chan struct{}
}

func (w *waiter) watch(int) (<-chan struct{}, error) {
	return nil, errors.New("the sandbox needs Linux")
}

func (w *waiter) close() {}
