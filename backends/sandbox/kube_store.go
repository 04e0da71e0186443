package sandbox

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// record is one version of an object, with its JSON but for kind and apiVersion.
type record struct {
	obj object
	raw []byte
	rv  uint64
}

// change is one step of the store's history.
type change struct {
	rv   uint64
	kind *kind
	typ  watch.EventType
	now  *record // for Deleted: as it was last, with the version of the deletion
	old  *record
}

// historySize is how many changes a watch can be taken up after. Older ones are 410, as after
// etcd's compaction. journalSlack is how many more lines than needed the journal may have.
const historySize, journalSlack = 2000, 4000

// store keeps the objects of a cluster and their history: in memory, and in a journal from which
// they come back after the program has died. It is written without being forced to disk: it has
// to outlive the program, not the computer. The kube's mutex guards it.
type store struct {
	rv      uint64
	objects map[*kind]map[string]*record
	byUID   map[types.UID]*record
	kindOf  map[types.UID]*kind
	history []change
	first   uint64        // the version that the history begins after
	changed chan struct{} // closed at the next change
	wake    func()
	path    string
	journal *os.File
	lines   int
	log     func(string, ...any)
}

// line is one line of the journal.
type line struct {
	RV       uint64          `json:"rv"`
	Group    string          `json:"group,omitempty"`
	Resource string          `json:"resource,omitempty"`
	Gone     string          `json:"gone,omitempty"` // key of a deleted object
	Object   json.RawMessage `json:"object,omitempty"`
}

func key(namespace, name string) string { return namespace + "/" + name }

func keyOf(o metav1.Object) string { return key(o.GetNamespace(), o.GetName()) }

// openStore reads the journal, if there is one, and writes it anew.
func openStore(path string, log func(string, ...any)) (*store, error) {
	st := &store{objects: map[*kind]map[string]*record{}, byUID: map[types.UID]*record{}, kindOf: map[types.UID]*kind{},
		changed: make(chan struct{}), wake: func() {}, path: path, log: log, rv: 1, first: 1}
	for _, kd := range kinds {
		st.objects[kd] = map[string]*record{}
	}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		var l line
		if json.Unmarshal(s.Bytes(), &l) != nil {
			break // the last line, torn
		}
		if err := st.replay(&l); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return st, st.rewrite()
}

func (st *store) replay(l *line) error {
	st.rv = max(st.rv, l.RV)
	if l.Resource == "" {
		st.first = max(st.first, l.RV)
		return nil
	}
	kd := kindOf(l.Group, "v1", l.Resource)
	if kd == nil {
		return fmt.Errorf("unknown resource %q", l.Resource)
	}
	if l.Gone != "" {
		if r := st.objects[kd][l.Gone]; r != nil {
			st.forget(kd, l.Gone)
			st.note(change{rv: l.RV, kind: kd, typ: watch.Deleted, now: r, old: r})
		}
		return nil
	}
	o := kd.make()
	if err := json.Unmarshal(l.Object, o); err != nil {
		return err
	}
	r := &record{obj: o, raw: l.Object, rv: l.RV}
	st.keep(kd, r)
	return nil
}

// rewrite makes a journal of what exists now. The history in memory stays.
func (st *store) rewrite() error {
	if st.journal != nil {
		_ = st.journal.Close()
	}
	if err := os.MkdirAll(filepath.Dir(st.path), 0o700); err != nil {
		return err
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	st.lines = 1
	if err := enc.Encode(line{RV: st.rv}); err != nil {
		return err
	}
	for _, kd := range kinds {
		for _, k := range slices.Sorted(maps.Keys(st.objects[kd])) {
			r := st.objects[kd][k]
			if err := enc.Encode(line{RV: r.rv, Group: kd.group, Resource: kd.resource, Object: r.raw}); err != nil {
				return err
			}
			st.lines++
		}
	}
	tmp := st.path + ".new"
	if err := os.WriteFile(tmp, buf.Bytes(), 0o600); err != nil {
		return err
	}
	if err := os.Rename(tmp, st.path); err != nil {
		return err
	}
	var err error
	st.journal, err = os.OpenFile(st.path, os.O_WRONLY|os.O_APPEND, 0o600)
	return err
}

func (st *store) write(l line) {
	b, err := json.Marshal(l)
	if err == nil {
		_, err = st.journal.Write(append(b, '\n'))
	}
	if err == nil {
		if st.lines++; st.lines > journalSlack+2*len(st.byUID) {
			err = st.rewrite()
		}
	}
	if err != nil {
		st.log("sandbox: %s: %v", st.path, err)
	}
}

func (st *store) keep(kd *kind, r *record) {
	k := keyOf(r.obj)
	old := st.objects[kd][k]
	st.objects[kd][k] = r
	st.byUID[r.obj.GetUID()], st.kindOf[r.obj.GetUID()] = r, kd
	typ := watch.Modified
	if old == nil {
		typ = watch.Added
	}
	st.note(change{rv: r.rv, kind: kd, typ: typ, now: r, old: old})
}

func (st *store) forget(kd *kind, k string) {
	uid := st.objects[kd][k].obj.GetUID()
	delete(st.objects[kd], k)
	delete(st.byUID, uid)
	delete(st.kindOf, uid)
}

func (st *store) note(c change) {
	if c.rv <= st.first {
		return // from a journal written anew: what exists, not what happened
	}
	st.history = append(st.history, c)
	if n := len(st.history) - historySize; n > historySize/4 {
		st.first = st.history[n-1].rv
		st.history = slices.Clone(st.history[n:])
	}
	close(st.changed)
	st.changed = make(chan struct{})
	st.wake()
}

// put stores a new version of an object, unless nothing differs.
func (st *store) put(kd *kind, o object) {
	old := st.objects[kd][keyOf(o)]
	if old != nil {
		o.SetResourceVersion(strconv.FormatUint(old.rv, 10))
		if raw, err := json.Marshal(bare(o)); err == nil && bytes.Equal(raw, old.raw) {
			return
		}
	}
	st.rv++
	o.SetResourceVersion(strconv.FormatUint(st.rv, 10))
	raw, err := json.Marshal(bare(o))
	if err != nil {
		st.log("sandbox: %s %s: %v", kd.resource, keyOf(o), err)
		return
	}
	r := &record{obj: o, raw: raw, rv: st.rv}
	st.keep(kd, r)
	st.write(line{RV: st.rv, Group: kd.group, Resource: kd.resource, Object: raw})
}

// bare takes kind and apiVersion off: a list's items have none, and whoever sends an object alone
// puts them before it.
func bare(o object) object {
	o.GetObjectKind().SetGroupVersionKind(zeroGVK)
	return o
}

// remove takes an object out, at once.
func (st *store) remove(kd *kind, o object) {
	k := keyOf(o)
	old := st.objects[kd][k]
	if old == nil || old.obj.GetUID() != o.GetUID() {
		return
	}
	st.rv++
	st.forget(kd, k)
	last, _ := old.obj.DeepCopyObject().(object)
	last.SetResourceVersion(strconv.FormatUint(st.rv, 10))
	raw, err := json.Marshal(last)
	if err != nil {
		raw = old.raw
	}
	st.note(change{rv: st.rv, kind: kd, typ: watch.Deleted, now: &record{obj: last, raw: raw, rv: st.rv}, old: old})
	st.write(line{RV: st.rv, Group: kd.group, Resource: kd.resource, Gone: k})
}

// get gives an object, or nil.
func (st *store) get(kd *kind, namespace, name string) object {
	if r := st.objects[kd][key(namespace, name)]; r != nil {
		return r.obj
	}
	return nil
}

// list gives the records of a namespace, or of all, in the order of their keys.
func (st *store) list(kd *kind, namespace string) []*record {
	out := make([]*record, 0, len(st.objects[kd]))
	for _, r := range st.objects[kd] {
		if namespace == "" || r.obj.GetNamespace() == namespace {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b *record) int {
		return cmp.Or(cmp.Compare(a.obj.GetNamespace(), b.obj.GetNamespace()), cmp.Compare(a.obj.GetName(), b.obj.GetName()))
	})
	return out
}

// owned gives what has owners.
func (st *store) owned() []*record {
	var out []*record
	for _, r := range st.byUID {
		if len(r.obj.GetOwnerReferences()) > 0 {
			out = append(out, r)
		}
	}
	return out
}

// all gives typed objects in the order of their keys.
func all[T object](st *store, kd *kind, namespace string) []T {
	var out []T
	for _, r := range st.list(kd, namespace) {
		if o, ok := r.obj.(T); ok {
			out = append(out, o)
		}
	}
	return out
}

// edit puts a copy of o, as it is now, that f has changed, and gives it. What is gone stays so.
func edit[T object](st *store, kd *kind, o T, f func(T)) T {
	r := st.byUID[o.GetUID()]
	if r == nil {
		return o
	}
	c, _ := r.obj.DeepCopyObject().(T)
	f(c)
	st.put(kd, c)
	return c
}

func (st *store) close() {
	if st.journal != nil {
		_ = st.journal.Close()
	}
}
