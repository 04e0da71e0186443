package executor

import (
	"context"
	"slices"
	"sync"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
)

// ledger writes the journal and keeps its history up to date. Workers tell it of cloud objects
// while the loop tells it of steps, so it has a lock; the lock is not held while a write waits
// for the disk.
type ledger struct {
	w  *journal.Writer
	mu sync.Mutex
	h  *journal.History
}

func (l *ledger) append(events ...journal.Event) error {
	if err := l.w.Append(events...); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ev := range events {
		_ = l.h.Fold(ev) // never fails
	}
	return nil
}

// A cloudLedger is the ledger as a cloud gets it.
type cloudLedger struct {
	*ledger
	cloud string // plan.Cloud.ID
}

func (l *ledger) of(c *plan.Cloud) *cloudLedger { return &cloudLedger{l, c.ID()} }

func (l *cloudLedger) note(ctx context.Context, k journal.Kind, o backends.Owner, obj backends.Object) error {
	if err := context.Cause(ctx); err != nil && k == journal.Intend {
		return err // what has not been asked for yet need not be
	}
	if err := l.append(journal.Event{Kind: k, Owner: &o, Object: &obj, Cloud: l.cloud}); err != nil {
		return &backends.Error{Class: backends.Internal, Op: "ledger", Err: err}
	}
	return nil
}

// Intend implements backends.Ledger.
func (l *cloudLedger) Intend(ctx context.Context, o backends.Owner, obj backends.Object) error {
	return l.note(ctx, journal.Intend, o, obj)
}

// Made implements backends.Ledger.
func (l *cloudLedger) Made(ctx context.Context, o backends.Owner, obj backends.Object) error {
	return l.note(ctx, journal.Made, o, obj)
}

// Gone implements backends.Ledger.
func (l *cloudLedger) Gone(ctx context.Context, o backends.Owner, obj backends.Object) error {
	return l.note(ctx, journal.Gone, o, obj)
}

// owned lists what may exist for a fleet, or for the whole run if fleet is empty.
func (l *ledger) owned(fleet string) []journal.Owned {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.h.Owned()
	if fleet == "" {
		return all
	}
	out := all[:0]
	for _, o := range all {
		if o.Owner.Fleet == fleet {
			out = append(out, o)
		}
	}
	return out
}

// release removes what belongs to an owner from a cloud. What the ledger holds of it there and the
// cloud does not have then is noted as gone: a process that was killed did not come to that.
func release(ctx context.Context, cloud *backends.Backend, o backends.Owner, l *cloudLedger) error {
	if err := cloud.Release(ctx, o, l); err != nil {
		return err
	}
	noted := slices.DeleteFunc(l.owned(o.Fleet), func(n journal.Owned) bool { return n.Cloud != l.cloud })
	if len(noted) == 0 {
		return nil
	}
	there, err := cloud.Owned(ctx, o)
	if err != nil {
		return err
	}
	for _, n := range noted {
		if slices.ContainsFunc(there, func(x backends.Object) bool { return x.Kind == n.Object.Kind && x.Name == n.Object.Name }) {
			continue
		}
		if err := l.Gone(ctx, n.Owner, n.Object); err != nil {
			return err
		}
	}
	return nil
}
