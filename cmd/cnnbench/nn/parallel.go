package nn

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// parallel calls body once for each i in [0, n) on up to GOMAXPROCS goroutines and returns when all calls have returned.
// The calls must not depend on one another. GOMAXPROCS follows the CPU limit and affinity of the process, so a net does too.
func parallel(n int, body func(i int)) {
	workers := min(runtime.GOMAXPROCS(0), n)
	if workers <= 1 {
		for i := range n {
			body(i)
		}
		return
	}
	var next atomic.Int64
	loop := func() {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			body(i)
		}
	}
	var wg sync.WaitGroup
	for range workers - 1 {
		wg.Go(loop)
	}
	loop()
	wg.Wait()
}
