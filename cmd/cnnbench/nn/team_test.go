package nn

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

func TestTeamMakesEachCallOnce(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	team := newTeam()
	for pass := range 3 {
		team.start()
		for n := range 40 {
			calls := make([]atomic.Int32, n)
			team.run(n, func(i int) { calls[i].Add(1) })
			for i := range calls {
				if got := calls[i].Load(); got != 1 {
					t.Fatalf("pass %d, loop of %d, calls of %d: got %d; want 1", pass, n, i, got)
				}
			}
		}
		team.stop()
	}
}

// Goroutines of a team sleep where the caller works alone for long, or waits for a long call of another.
func TestTeamWakesFromSleep(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	team := newTeam()
	team.start()
	for range 3 {
		for team.sleepers.Load() < 3 {
			runtime.Gosched()
		}
		release := make(chan struct{})
		var slow atomic.Int32
		go func() {
			for slow.Load() < 1 {
				runtime.Gosched()
			}
			time.Sleep(5 * time.Millisecond) // longer than anyone spins
			close(release)
		}()
		team.run(8, func(i int) {
			if i == 7 {
				slow.Add(1)
				<-release
			}
		})
		if got := slow.Load(); got != 1 {
			t.Fatalf("slow calls when the loop is over: got %d; want 1", got)
		}
	}
	team.stop()
}
