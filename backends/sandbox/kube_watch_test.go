package sandbox_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"dlx.dev/dlx/backends/sandbox"
)

// An informer asks for a WatchList, and goes on when its connection breaks.
func TestInformers(t *testing.T) {
	inVirtualTime(t, 1, sandbox.Config{}, func(w *world) {
		ctx := w.t.Context()
		add := func(name string) {
			w.t.Helper()
			if err := w.core.Post().Namespace("default").Resource("configmaps").Body(configMap(name)).Do(ctx).Error(); err != nil {
				w.t.Fatal(err)
			}
		}
		add("first")
		lw := cache.NewListWatchFromClient(w.core, "configmaps", "default", fields.Everything())
		i := cache.NewSharedInformer(lw, &corev1.ConfigMap{}, 0)
		seen := make(chan string, 16)
		if _, err := i.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { seen <- "+" + o.(*corev1.ConfigMap).Name },
			UpdateFunc: func(_, o any) { seen <- "~" + o.(*corev1.ConfigMap).Name },
			DeleteFunc: func(o any) {
				if m, ok := o.(*corev1.ConfigMap); ok {
					seen <- "-" + m.Name
				}
			},
		}); err != nil {
			w.t.Fatal(err)
		}
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() { i.Run(stop) })
		expect := func(want string) {
			w.t.Helper()
			for got := range seen {
				if strings.HasPrefix(got, "~") || got == "+kube-root-ca.crt" { // a list anew updates what it finds
					continue
				}
				if got != want {
					w.t.Errorf("got %s; want %s", got, want)
				}
				return
			}
		}
		if !cache.WaitForCacheSync(stop, i.HasSynced) {
			w.t.Fatal("no sync")
		}
		expect("+first")
		add("second")
		expect("+second")
		w.s.DropKubernetes()
		for w.core.Get().AbsPath("/version").Do(ctx).Error() != nil { // the connection that broke may still be in the pool
			time.Sleep(time.Second)
		}
		add("third")
		expect("+third")
		if err := w.core.Delete().Namespace("default").Resource("configmaps").Name("first").Do(ctx).Error(); err != nil {
			w.t.Fatal(err)
		}
		expect("-first")
		close(stop)
		wg.Wait()
	})
}

func TestWatches(t *testing.T) {
	inVirtualTime(t, 1, sandbox.Config{}, func(w *world) {
		ctx := w.t.Context()
		m := configMap("m")
		m.Labels = map[string]string{"a": "b"}
		if err := w.core.Post().Namespace("default").Resource("configmaps").Body(m).Do(ctx).Into(m); err != nil {
			w.t.Fatal(err)
		}
		open := func(o *metav1.ListOptions) watch.Interface {
			w.t.Helper()
			o.Watch = true
			x, err := w.core.Get().Namespace("default").Resource("configmaps").VersionedParams(o, w.params).Watch(ctx)
			if err != nil {
				w.t.Fatal(err)
			}
			return x
		}
		yes := true
		x := open(&metav1.ListOptions{SendInitialEvents: &yes, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, AllowWatchBookmarks: true, LabelSelector: "a=b"})
		expect := func(typ watch.EventType) watch.Event {
			w.t.Helper()
			e := <-x.ResultChan()
			if e.Type != typ {
				w.t.Errorf("got %v; want %s", e, typ)
			}
			return e
		}
		expect(watch.Added)
		if o, _ := expect(watch.Bookmark).Object.(*corev1.ConfigMap); o == nil || o.Annotations[metav1.InitialEventsAnnotationKey] != "true" {
			w.t.Errorf("got %v", o)
		}
		m.Labels = map[string]string{"a": "c"} // leaves the selection
		if err := w.core.Put().Namespace("default").Resource("configmaps").Name("m").Body(m).Do(ctx).Into(m); err != nil {
			w.t.Fatal(err)
		}
		expect(watch.Deleted)
		expect(watch.Bookmark) // a minute later
		x.Stop()

		x = open(&metav1.ListOptions{ResourceVersion: "1"})
		for e := range x.ResultChan() {
			if e.Type == watch.Error {
				w.t.Errorf("got %v", apierrors.FromObject(e.Object))
			}
			if o, _ := e.Object.(*corev1.ConfigMap); o != nil && o.Name == "m" && o.Labels["a"] == "c" {
				break
			}
		}
		x.Stop()
		for range 3000 { // more than the history holds
			m.ResourceVersion = ""
			m.Labels["n"] += "x"
			if len(m.Labels["n"]) > 60 {
				m.Labels["n"] = ""
			}
			if err := w.core.Put().Namespace("default").Resource("configmaps").Name("m").Body(m).Do(ctx).Error(); err != nil {
				w.t.Fatal(err)
			}
		}
		x = open(&metav1.ListOptions{ResourceVersion: "1"})
		if err := apierrors.FromObject(expect(watch.Error).Object); !apierrors.IsResourceExpired(err) {
			w.t.Errorf("got %v", err)
		}
		x.Stop()
	})
}
