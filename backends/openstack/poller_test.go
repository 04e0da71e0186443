package openstack

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dlx.dev/dlx/backends"
)

// counting is a poller over a clock: each look is a number.
func counting(ctx context.Context, t *testing.T, fails func(n int) error) (*poller[int], *[]time.Duration) {
	began := time.Now()
	var at []time.Duration
	n := 0
	return newPoller(ctx, 2*time.Second, 15*time.Second, t.Logf, func(context.Context) (int, error) {
		n++
		at = append(at, time.Since(began))
		return n, fails(n)
	}, func(int, int) bool { return false }), &at
}

func TestOneListForAllWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, at := counting(t.Context(), t, func(int) error { return nil })
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if err := p.wait(t.Context(), func(n int) (bool, error) { return n == 5, nil }); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(*at) != 5 {
			t.Errorf("%d lists at %v; want 5", len(*at), *at)
		}
		for i := 2; i < len(*at); i++ {
			if a, b := (*at)[i-1]-(*at)[i-2], (*at)[i]-(*at)[i-1]; b < a || b > 15*time.Second {
				t.Errorf("pauses do not grow to 15 s: %v", *at)
			}
		}
		p.done.Wait() // nobody waits: it rests
	})
}

func TestHiccupsAreForgivenAndErrorsAreNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := counting(t.Context(), t, func(n int) error {
			if n <= 2 {
				return backends.Errorf(backends.Transport, "list", "bad gateway")
			}
			return nil
		})
		if err := p.wait(t.Context(), func(int) (bool, error) { return true, nil }); err != nil {
			t.Errorf("two hiccups: %v", err)
		}
		p, at := counting(t.Context(), t, func(int) error { return backends.Errorf(backends.Transport, "list", "bad gateway") })
		if err := p.wait(t.Context(), func(int) (bool, error) { return true, nil }); backends.ClassOf(err) != backends.Transport || len(*at) != maxHiccups {
			t.Errorf("for ever: got %v after %d", err, len(*at))
		}
		p, at = counting(t.Context(), t, func(int) error { return backends.Errorf(backends.Config, "list", "unauthorized") })
		if err := p.wait(t.Context(), func(int) (bool, error) { return true, nil }); backends.ClassOf(err) != backends.Config || len(*at) != 1 {
			t.Errorf("final: got %v after %d", err, len(*at))
		}
	})
}

func TestWaitingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancelCause(t.Context())
		p, _ := counting(ctx, t, func(int) error { return nil })
		short, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		never := func(int) (bool, error) { return false, nil }
		if err := p.wait(short, never); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		closed := errors.New("closed")
		time.AfterFunc(time.Minute, func() { end(closed) })
		if err := p.wait(t.Context(), never); !errors.Is(err, closed) {
			t.Errorf("got %v", err)
		}
		p.done.Wait()
	})
}
