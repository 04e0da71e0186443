package openstack

import (
	"context"
	"sync"
	"time"

	"dlx.dev/dlx/backends"
)

// A poller looks at the cloud for all who wait: one list a tick, however many they are. It
// rests when nobody waits.
type poller[T any] struct {
	list     func(context.Context) (T, error)
	changed  func(before, after T) bool
	min, max time.Duration
	log      func(string, ...any)

	mu      sync.Mutex
	waiting map[*waiter[T]]bool
	running bool
	kick    chan struct{}
	ctx     context.Context // ends with the provider
	done    sync.WaitGroup
}

// waiter is one who waits. A look that began before it came is not for it.
type waiter[T any] struct{ seen chan look[T] }

type look[T any] struct {
	what T
	err  error
}

func newPoller[T any](ctx context.Context, min, max time.Duration, log func(string, ...any),
	list func(context.Context) (T, error), changed func(a, b T) bool) *poller[T] {
	return &poller[T]{list: list, changed: changed, min: min, max: max, log: log,
		waiting: map[*waiter[T]]bool{}, kick: make(chan struct{}, 1), ctx: ctx}
}

// maxHiccups is how many looks in a row may fail with a temporary error before the waiting ends
// with it. The HTTP layer has tried each several times.
const maxHiccups = 3

// wait hands each look to check until that is done or fails.
func (p *poller[T]) wait(ctx context.Context, check func(T) (done bool, err error)) error {
	w := &waiter[T]{seen: make(chan look[T], 1)}
	p.mu.Lock()
	p.waiting[w] = true
	if !p.running {
		p.running = true
		p.done.Go(p.loop)
	}
	p.mu.Unlock()
	select {
	case p.kick <- struct{}{}:
	default:
	}
	defer func() {
		p.mu.Lock()
		delete(p.waiting, w)
		p.mu.Unlock()
	}()
	for hiccups := 0; ; {
		var l look[T]
		select {
		case l = <-w.seen:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.ctx.Done():
			return context.Cause(p.ctx) //nolint:contextcheck // the provider was closed under its caller
		}
		if l.err != nil {
			if hiccups++; hiccups >= maxHiccups || !backends.ClassOf(l.err).Temporary() {
				return l.err
			}
			continue
		}
		hiccups = 0
		if done, err := check(l.what); done || err != nil {
			return err
		}
	}
}

// loop looks until nobody waits any more.
func (p *poller[T]) loop() {
	var last T
	pause := p.min
	for {
		next := time.Now().Add(pause)
		timer := time.NewTimer(pause)
	rest:
		for {
			select {
			case <-timer.C:
				break rest
			case <-p.kick: // somebody new: soon
				pause = p.min
				if soon := time.Now().Add(pause); soon.Before(next) {
					next = soon
					timer.Reset(pause)
				}
			case <-p.ctx.Done():
				timer.Stop()
				return
			}
		}
		p.mu.Lock()
		now := make([]*waiter[T], 0, len(p.waiting))
		for w := range p.waiting {
			now = append(now, w)
		}
		if len(now) == 0 {
			p.running = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()

		what, err := p.list(p.ctx)
		if err != nil {
			p.log("poll: %v", err)
		} else if p.changed(last, what) {
			pause = p.min
		}
		if err == nil {
			last = what
		}
		for _, w := range now {
			select {
			case <-w.seen: // an older look that nobody took
			default:
			}
			select {
			case w.seen <- look[T]{what, err}:
			default:
			}
		}
		pause = min(pause*3/2, p.max)
	}
}
