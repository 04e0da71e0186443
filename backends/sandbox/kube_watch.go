package sandbox

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"
)

// bookmarkPeriod is how often a watch that allows it hears how far it is: the API server's.
// futureWait is how long a request waits for a version that is not there yet.
const (
	bookmarkPeriod = time.Minute
	futureWait     = 3 * time.Second
)

// selector picks objects by labels and fields.
type selector struct {
	labels labels.Selector
	fields fields.Selector
	kind   *kind
}

func (c *call) selector() (*selector, *apierrors.StatusError) {
	q := c.r.URL.Query()
	l, err := labels.Parse(q.Get("labelSelector"))
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("unable to parse requirement: %v", err))
	}
	f, err := fields.ParseSelector(q.Get("fieldSelector"))
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	known := fieldSet(c.kind.make())
	for _, r := range f.Requirements() {
		if !known.Has(r.Field) {
			return nil, apierrors.NewBadRequest("field label not supported: " + r.Field)
		}
	}
	return &selector{labels: l, fields: f, kind: c.kind}, nil
}

func (s *selector) fits(o object) bool {
	return s.labels.Matches(labels.Set(o.GetLabels())) && (s.fields.Empty() || s.fields.Matches(fieldSet(o)))
}

// fieldSet is what field selectors may ask of an object.
func fieldSet(o object) fields.Set {
	f := fields.Set{"metadata.name": o.GetName(), "metadata.namespace": o.GetNamespace()}
	switch o := o.(type) {
	case *corev1.Pod:
		f["spec.nodeName"], f["status.phase"], f["status.podIP"] = o.Spec.NodeName, string(o.Status.Phase), o.Status.PodIP
		f["spec.restartPolicy"], f["spec.schedulerName"] = string(o.Spec.RestartPolicy), o.Spec.SchedulerName
		f["spec.serviceAccountName"] = o.Spec.ServiceAccountName
	case *corev1.Event:
		i := o.InvolvedObject
		f["involvedObject.kind"], f["involvedObject.name"], f["involvedObject.namespace"] = i.Kind, i.Name, i.Namespace
		f["involvedObject.uid"], f["involvedObject.fieldPath"], f["involvedObject.apiVersion"] = string(i.UID), i.FieldPath, i.APIVersion
		f["reason"], f["type"], f["source"] = o.Reason, o.Type, o.Source.Component
	case *corev1.Namespace:
		f["status.phase"] = string(o.Status.Phase)
	case *corev1.Node:
		f["spec.unschedulable"] = strconv.FormatBool(o.Spec.Unschedulable)
	}
	return f
}

// fresh refuses a version that has not been yet, after waiting for it a little.
func (c *call) fresh(ctx context.Context, version string) *apierrors.StatusError {
	if version == "" || version == "0" {
		return nil
	}
	n, err := strconv.ParseUint(version, 10, 64)
	if err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("Invalid value: %q: invalid resource version", version))
	}
	now := func() uint64 {
		c.k.mu.Lock()
		defer c.k.mu.Unlock()
		return c.k.st.rv
	}
	if n <= now() || c.k.sleep(ctx, futureWait) && n <= now() {
		return nil
	}
	e := apierrors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", n, now()), 1)
	e.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version"}}
	return e
}

// watcher is one watch that goes on.
type watcher struct {
	*call
	sel       *selector
	at        uint64
	bookmarks bool
	flush     func()
}

// watch serves one, of any of the forms that the API knows: from a version on, from what exists
// now, or with what exists now and a bookmark after it.
func (c *call) watch(ctx context.Context) *apierrors.StatusError {
	sel, err := c.selector()
	if err != nil {
		return err
	}
	q := c.r.URL.Query()
	version := q.Get("resourceVersion")
	initial := q.Get("sendInitialEvents") == "true"
	if initial && q.Get("resourceVersionMatch") != string(metav1.ResourceVersionMatchNotOlderThan) {
		return apierrors.NewBadRequest("resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
	}
	if err := c.fresh(ctx, version); err != nil {
		return err
	}
	flusher, ok := c.w.(http.Flusher)
	if !ok {
		return apierrors.NewInternalError(fmt.Errorf("unable to start watch - can't get http.Flusher"))
	}
	life := 30*time.Minute + rand.N(30*time.Minute)
	if n, err := strconv.Atoi(q.Get("timeoutSeconds")); err == nil && n > 0 {
		life = time.Duration(n) * time.Second
	}
	w := &watcher{call: c, sel: sel, bookmarks: q.Get("allowWatchBookmarks") == "true", flush: flusher.Flush}
	w.at, _ = strconv.ParseUint(version, 10, 64)
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(http.StatusOK)
	if initial || w.at == 0 {
		w.existing()
	}
	if initial {
		w.bookmark(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	}
	w.flush()
	w.follow(ctx, life)
	return nil
}

// existing sends what there is as if it came now.
func (w *watcher) existing() {
	w.k.mu.Lock()
	all := w.k.st.list(w.kind, w.namespace)
	w.at = w.k.st.rv
	w.k.mu.Unlock()
	for _, r := range all {
		if (w.name == "" || r.obj.GetName() == w.name) && w.sel.fits(r.obj) {
			w.event(watch.Added, r)
		}
	}
}

// follow sends what changes until the time is over, the client is gone, or the cluster is.
func (w *watcher) follow(ctx context.Context, life time.Duration) {
	end, tick := time.NewTimer(life), time.NewTicker(bookmarkPeriod)
	defer end.Stop()
	defer tick.Stop()
	for {
		w.k.mu.Lock()
		st := w.k.st
		changed, first, now := st.changed, st.first, st.rv
		var news []change
		for i := len(st.history); i > 0 && st.history[i-1].rv > w.at; i-- {
			news = st.history[i-1:]
		}
		w.k.mu.Unlock()
		if w.at < first {
			e := apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d (%d)", w.at, first)).ErrStatus
			e.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
			b, _ := json.Marshal(e)
			w.write(watch.Error, b)
			w.flush()
			return
		}
		for i := range news {
			w.step(&news[i])
		}
		w.at = max(w.at, now)
		if len(news) > 0 {
			w.flush()
		}
		select {
		case <-changed:
		case <-tick.C:
			if w.bookmarks {
				w.bookmark(nil)
				w.flush()
			}
		case <-end.C:
			return
		case <-ctx.Done():
			return
		case <-w.k.done:
			return
		}
	}
}

// step sends a change as a watcher with a selector sees it: what begins to fit is added, what no
// longer fits is deleted.
func (w *watcher) step(c *change) {
	if c.kind != w.kind || w.namespace != "" && c.now.obj.GetNamespace() != w.namespace || w.name != "" && c.now.obj.GetName() != w.name {
		return
	}
	fits, fitted := c.typ != watch.Deleted && w.sel.fits(c.now.obj), c.old != nil && w.sel.fits(c.old.obj)
	switch {
	case fits && fitted:
		w.event(watch.Modified, c.now)
	case fits:
		w.event(watch.Added, c.now)
	case fitted:
		w.event(watch.Deleted, c.now)
	}
}

func (w *watcher) event(t watch.EventType, r *record) {
	if !w.tabular() {
		w.write(t, whole(w.kind, r.raw))
		return
	}
	if b, err := json.Marshal(w.table([]*record{r}, strconv.FormatUint(r.rv, 10))); err == nil {
		w.write(t, b)
	}
}

func (w *watcher) write(t watch.EventType, object []byte) {
	_, _ = fmt.Fprintf(w.w, `{"type":%q,"object":%s}`+"\n", t, object)
}

func (w *watcher) bookmark(annotations map[string]string) {
	o := w.kind.make()
	o.SetResourceVersion(strconv.FormatUint(w.at, 10))
	o.SetAnnotations(annotations)
	if raw, err := json.Marshal(o); err == nil {
		w.write(watch.Bookmark, whole(w.kind, raw))
	}
}
