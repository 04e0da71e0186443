package bench

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// WithSignals returns a context that ends on an interrupt or a request to terminate, with [Stopped] as its cause. The
// second signal has its usual effect. stop frees what it holds; it is safe to call several times.
func WithSignals(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		defer signal.Stop(signals)
		select {
		case s := <-signals:
			if number, ok := s.(syscall.Signal); ok {
				cancel(Stopped{number})
			}
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(context.Canceled) }
}
