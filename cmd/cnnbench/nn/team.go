package nn

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// team runs loops of independent calls on GOMAXPROCS goroutines, which stay awake between the loops of one pass. A pass
// has hundreds of loops of some ten microseconds; starting or waking a goroutine for each takes as long as its share of
// the work. GOMAXPROCS follows the CPU limit and affinity of the process, so a net does too.
//
// A loop is over when all its calls have returned, not when all goroutines have taken part: one that the system does not
// run at the moment holds nobody up unless it is within a call.
type team struct {
	workers int // beside the caller; 0 = every loop runs on the caller alone
	current atomic.Pointer[loop]
	wg      sync.WaitGroup

	mu       sync.Mutex
	changed  sync.Cond    // a new loop, the end of one, or the end of the team
	sleepers atomic.Int32 // goroutines that wait for changed, or are about to
}

// loop is calls of body with 0 to n-1.
type loop struct {
	n    int64
	body func(i int)
	next atomic.Int64 // the next call to make
	done atomic.Int64 // calls that have returned
}

// spins is how many times a goroutine looks for a change before it sleeps: some microseconds, about as long as the parts
// of a pass between two loops. On two CPUs 20000 gave 1.5 times and 4000 gave 1.4 times the speed of one; with two
// goroutines on one CPU the longer wait cost more. Every yieldEvery times it lets others run.
const (
	spins      = 4000
	yieldEvery = 100
)

func newTeam() *team {
	t := &team{}
	t.changed.L = &t.mu
	return t
}

// start begins a pass.
func (t *team) start() {
	t.workers = runtime.GOMAXPROCS(0) - 1
	if t.workers == 0 {
		return
	}
	first := &loop{}
	t.current.Store(first)
	for range t.workers {
		t.wg.Go(func() { t.work(first) })
	}
}

// stop ends a pass.
func (t *team) stop() {
	if t.workers == 0 {
		return
	}
	t.publish(nil)
	t.wg.Wait()
	t.workers = 0
}

// run calls body once for each i in [0, n) and returns when all calls have returned.
func (t *team) run(n int, body func(i int)) {
	if t.workers == 0 || n == 1 {
		for i := range n {
			body(i)
		}
		return
	}
	l := &loop{n: int64(n), body: body}
	t.publish(l)
	t.take(l)
	t.await(func() bool { return l.done.Load() == l.n })
}

// publish makes l the current loop; nil ends the team.
func (t *team) publish(l *loop) {
	t.current.Store(l)
	t.wake()
}

// wake tells sleepers of a change that was made before.
func (t *team) wake() {
	if t.sleepers.Load() == 0 {
		return
	}
	t.mu.Lock()
	t.changed.Broadcast()
	t.mu.Unlock()
}

// work takes part in each loop after last.
func (t *team) work(last *loop) {
	for {
		t.await(func() bool { return t.current.Load() != last })
		last = t.current.Load()
		if last == nil {
			return
		}
		t.take(last)
	}
}

// take makes calls of l until none is left.
func (t *team) take(l *loop) {
	for i := l.next.Add(1) - 1; i < l.n; i = l.next.Add(1) - 1 {
		l.body(int(i))
		if l.done.Add(1) == l.n {
			t.wake()
		}
	}
}

// await returns when ready is true. Whoever makes it true calls wake afterwards.
func (t *team) await(ready func() bool) {
	for i := range spins {
		if ready() {
			return
		}
		if i%yieldEvery == yieldEvery-1 {
			runtime.Gosched()
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sleepers.Add(1) // before ready is asked again, so that no wake is lost
	defer t.sleepers.Add(-1)
	for !ready() {
		t.changed.Wait()
	}
}
