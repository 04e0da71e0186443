package gates_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"dlx.dev/dlx/backends/internal/gates"
)

func TestGatesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gates.Gates
		leave, err := g.Enter(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		other, err := g.Enter(t.Context(), "b")
		if err != nil {
			t.Fatal(err)
		}
		other()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := g.Enter(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		leave()
		if leave, err = g.Enter(t.Context(), "a"); err != nil {
			t.Errorf("got %v", err)
		}
		if got := g.Names(); len(got) != 1 || got[0] != "a" {
			t.Errorf("got %v", got)
		}
		leave()
		if got := g.Names(); len(got) != 0 {
			t.Errorf("got %v", got)
		}
	})
}
