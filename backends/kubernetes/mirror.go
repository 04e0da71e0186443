package kubernetes

import (
	"context"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// A bell wakes whoever waits for a change. The zero value is ready.
type bell struct {
	mu sync.Mutex
	ch chan struct{}
}

// next is closed by the next ring. Get it before looking.
func (b *bell) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}

// A mirror holds the objects of one kind in one namespace, as a watch tells them. Objects that
// it gives out are not to be changed.
type mirror[T metav1.Object] struct {
	bell *bell

	mu     sync.Mutex
	objs   map[string]T // by name
	synced bool
	err    error     // of the last list or watch; nil once one was answered
	since  time.Time // of the first of these errors
}

var _ cache.ReflectorStore = (*mirror[metav1.Object])(nil)

// get gives the object of a name.
func (m *mirror[T]) get(name string) (obj T, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	obj, ok = m.objs[name]
	return obj, ok
}

// all gives those that fit.
func (m *mirror[T]) all(fits func(T) bool) []T {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []T
	for _, o := range m.objs {
		if fits(o) {
			out = append(out, o)
		}
	}
	return out
}

// state says whether everything has been seen once, and what keeps the watch from going on.
func (m *mirror[T]) state() (synced bool, since time.Time, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.synced, m.since, m.err
}

// note remembers how a list or watch was answered.
func (m *mirror[T]) note(err error) {
	m.mu.Lock()
	if err != nil && m.err == nil {
		m.since = time.Now()
	}
	m.err = err
	m.mu.Unlock()
	if err != nil {
		m.bell.ring()
	}
}

// follow mirrors until ctx ends.
func (m *mirror[T]) follow(ctx context.Context, c *client, r kind, ns string, one, list func() runtime.Object, with metav1.ListOptions) {
	options := func(o metav1.ListOptions) metav1.ListOptions {
		o.LabelSelector, o.FieldSelector = with.LabelSelector, with.FieldSelector
		return o
	}
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			out := list()
			err := c.list(ctx, r, ns, options(o), out)
			m.note(err)
			return out, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			w, err := c.watch(ctx, r, ns, options(o))
			m.note(err)
			return w, err
		},
	}
	cache.NewReflectorWithOptions(lw, one(), m, cache.ReflectorOptions{Name: r.name + " of " + ns}).RunWithContext(ctx)
}

// Add implements cache.ReflectorStore.
func (m *mirror[T]) Add(obj any) error { return m.put(obj) }

// Update implements cache.ReflectorStore.
func (m *mirror[T]) Update(obj any) error { return m.put(obj) }

func (m *mirror[T]) put(obj any) error {
	if o, ok := obj.(T); ok {
		o.SetManagedFields(nil) // half of an object's bytes
		m.mu.Lock()
		m.objs[o.GetName()] = o
		m.mu.Unlock()
		m.bell.ring()
	}
	return nil
}

// Delete implements cache.ReflectorStore.
func (m *mirror[T]) Delete(obj any) error {
	if o, ok := obj.(T); ok {
		m.mu.Lock()
		delete(m.objs, o.GetName())
		m.mu.Unlock()
		m.bell.ring()
	}
	return nil
}

// Replace implements cache.ReflectorStore.
func (m *mirror[T]) Replace(list []any, _ string) error {
	objs := make(map[string]T, len(list))
	for _, obj := range list {
		if o, ok := obj.(T); ok {
			o.SetManagedFields(nil)
			objs[o.GetName()] = o
		}
	}
	m.mu.Lock()
	m.objs, m.synced = objs, true
	m.mu.Unlock()
	m.bell.ring()
	return nil
}

// Resync implements cache.ReflectorStore.
func (m *mirror[T]) Resync() error { return nil }
