// Package gates is locks by name, which waiting for ends with a context.
package gates

import (
	"context"
	"sync"
)

// Gates are locks by name, which waiting for ends with a context. The zero value is ready.
type Gates struct {
	mu   sync.Mutex
	held map[string]*gate
}

type gate struct {
	turn  chan struct{}
	users int
}

// Enter waits for its turn and gives the function that ends it.
func (g *Gates) Enter(ctx context.Context, name string) (leave func(), err error) {
	g.mu.Lock()
	if g.held == nil {
		g.held = map[string]*gate{}
	}
	t := g.held[name]
	if t == nil {
		t = &gate{turn: make(chan struct{}, 1)}
		g.held[name] = t
	}
	t.users++
	g.mu.Unlock()
	forget := func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(g.held, name)
		}
	}
	select {
	case t.turn <- struct{}{}:
		return func() { <-t.turn; forget() }, nil
	case <-ctx.Done():
		forget()
		return nil, context.Cause(ctx)
	}
}

// Names lists the gates that somebody holds or waits for.
func (g *Gates) Names() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []string
	for n := range g.held {
		out = append(out, n)
	}
	return out
}
