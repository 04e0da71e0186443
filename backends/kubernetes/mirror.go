package kubernetes

import (
	"context"
	"maps"
	"slices"
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
	keys func(T) []string // of the groups that an object belongs to

	mu     sync.Mutex
	objs   map[string]T            // by name
	groups map[string]map[string]T // by key and name: whoever waits looks after every change, and there may be thousands of objects
	synced bool
	err    error     // of the last list or watch; nil once one was answered
	since  time.Time // of the first of these errors
}

func newMirror[T metav1.Object](b *bell, keys func(T) []string) *mirror[T] {
	return &mirror[T]{bell: b, keys: keys, objs: map[string]T{}, groups: map[string]map[string]T{}}
}

var _ cache.ReflectorStore = (*mirror[metav1.Object])(nil)

// get gives the object of a name.
func (m *mirror[T]) get(name string) (obj T, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	obj, ok = m.objs[name]
	return obj, ok
}

// group gives the objects of a key.
func (m *mirror[T]) group(key string) []T {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.groups[key]))
}

// add and drop keep the groups in step with the objects. The caller holds mu.

func (m *mirror[T]) add(o T) {
	m.objs[o.GetName()] = o
	for _, k := range m.keys(o) {
		if m.groups[k] == nil {
			m.groups[k] = map[string]T{}
		}
		m.groups[k][o.GetName()] = o
	}
}

func (m *mirror[T]) drop(name string) {
	o, ok := m.objs[name]
	if !ok {
		return
	}
	delete(m.objs, name)
	for _, k := range m.keys(o) {
		if delete(m.groups[k], name); len(m.groups[k]) == 0 {
			delete(m.groups, k)
		}
	}
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
		m.drop(o.GetName()) // one of the same name may be another object
		m.add(o)
		m.mu.Unlock()
		m.bell.ring()
	}
	return nil
}

// Delete implements cache.ReflectorStore.
func (m *mirror[T]) Delete(obj any) error {
	if o, ok := obj.(T); ok {
		m.mu.Lock()
		m.drop(o.GetName())
		m.mu.Unlock()
		m.bell.ring()
	}
	return nil
}

// Replace implements cache.ReflectorStore.
func (m *mirror[T]) Replace(list []any, _ string) error {
	m.mu.Lock()
	m.objs, m.groups, m.synced = make(map[string]T, len(list)), map[string]map[string]T{}, true
	for _, obj := range list {
		if o, ok := obj.(T); ok {
			o.SetManagedFields(nil)
			m.add(o)
		}
	}
	m.mu.Unlock()
	m.bell.ring()
	return nil
}

// Resync implements cache.ReflectorStore.
func (m *mirror[T]) Resync() error { return nil }
