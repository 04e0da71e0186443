package kubernetes

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

// inFlight is how many requests a cluster is sent at once. 64 workers keep an API server busy;
// what is too many for it, it refuses with 429 and a Retry-After, which client-go obeys.
const inFlight = 64

// A client is a way to one cluster. It is safe for concurrent use.
type client struct {
	cfg     *rest.Config
	http    *http.Client
	tls     *tls.Config // of exec; nil: without
	core    *rest.RESTClient
	apis    map[schema.GroupVersion]*rest.RESTClient // but core
	secrets []string
	log     func(string, ...any)
}

// connect prepares the way to the cluster of a kubeconfig. It asks the cluster nothing.
func connect(kubeconfig []byte, dial func(context.Context, string, string) (net.Conn, error), log func(string, ...any)) (*client, error) {
	cfg, secrets, err := restConfig(kubeconfig, log)
	if err != nil {
		return nil, err
	}
	cfg.Dial = dial
	if cfg.Proxy == nil {
		// The usual one. That it is set keeps the connections out of client-go's cache for the
		// whole process: they are ours to close.
		cfg.Proxy = http.ProxyFromEnvironment
	}
	room := make(chan struct{}, inFlight)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return &limited{next: next, room: room} })
	c := &client{cfg: cfg, secrets: secrets, log: log, apis: map[schema.GroupVersion]*rest.RESTClient{}}
	if c.http, err = rest.HTTPClientFor(cfg); err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", unreadable(err))
	}
	c.http.Transport = &resent{c.http.Transport} // not in the configuration, by which commands are sent: these are GETs as well
	c.http.Transport = c.renewing(c.http.Transport)
	if c.tls, err = rest.TLSConfigFor(cfg); err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", unreadable(err))
	}
	if c.core, err = c.api("/api", corev1.SchemeGroupVersion); err != nil {
		return nil, err
	}
	for _, gv := range []schema.GroupVersion{batchv1.SchemeGroupVersion, rbacv1.SchemeGroupVersion, resourcev1.SchemeGroupVersion, jobSetGroup} {
		if c.apis[gv], err = c.api("/apis", gv); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *client) api(path string, gv schema.GroupVersion) (*rest.RESTClient, error) {
	cfg := rest.CopyConfig(c.cfg)
	cfg.APIPath, cfg.GroupVersion, cfg.NegotiatedSerializer = path, &gv, scheme().codecs
	api, err := rest.RESTClientForConfigAndClient(cfg, c.http)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", unreadable(err))
	}
	return api, nil
}

// close lets connections go.
func (c *client) close() {
	utilnet.CloseIdleConnectionsFor(c.http.Transport)
}

// A kind is one of objects as the API's paths call it.
type kind struct {
	name    string
	gv      schema.GroupVersion // zero: core
	cluster bool                // not in a namespace
	applied bool                // of a fleet: made by server-side apply, which brings what is there up to date
}

var (
	namespaces = kind{name: "namespaces", cluster: true}
	nodes      = kind{name: "nodes", cluster: true}
	pods       = kind{name: "pods"}
	configMaps = kind{name: "configmaps", applied: true}
	services   = kind{name: "services", applied: true}
	events     = kind{name: "events"}
	jobs       = kind{name: "jobs", gv: batchv1.SchemeGroupVersion}

	claims       = kind{name: "persistentvolumeclaims"}
	accounts     = kind{name: "serviceaccounts"}
	roles        = kind{name: "roles", gv: rbacv1.SchemeGroupVersion}
	roleBindings = kind{name: "rolebindings", gv: rbacv1.SchemeGroupVersion}

	jobSets        = kind{name: "jobsets", gv: jobSetGroup}
	claimTemplates = kind{name: "resourceclaimtemplates", gv: resourcev1.SchemeGroupVersion}
)

func (c *client) of(r kind) *rest.RESTClient {
	if r.gv.Empty() {
		return c.core
	}
	return c.apis[r.gv]
}

// at begins a request for a kind of object in a namespace.
func (c *client) at(req *rest.Request, r kind, ns string) *rest.Request {
	return req.NamespaceIfScoped(ns, !r.cluster).Resource(r.name)
}

// Errors of the following are the SDK's; fail gives them a class.

func (c *client) get(ctx context.Context, r kind, ns, name string, into runtime.Object) error {
	return c.at(c.of(r).Get(), r, ns).Name(name).Do(ctx).Into(into)
}

func (c *client) create(ctx context.Context, r kind, ns string, obj thing, into runtime.Object) error {
	return c.at(c.of(r).Post(), r, ns).Param("fieldManager", manager).Body(obj).Do(ctx).Into(into)
}

// createOrGet makes an object, or reads the one of its name that is there.
func (c *client) createOrGet(ctx context.Context, r kind, ns string, obj thing, into runtime.Object) error {
	err := c.create(ctx, r, ns, obj, into)
	if exists(err) {
		err = c.get(ctx, r, ns, obj.GetName(), into)
	}
	return err
}

// apply makes an object, or changes what dlx said of one to what it says now; obj has its kind. It
// takes the verb create where there is none.
func (c *client) apply(ctx context.Context, r kind, ns string, obj thing, into runtime.Object) error {
	doc, err := json.Marshal(obj)
	if err != nil {
		return err
	}
	return c.at(c.of(r).Patch(types.ApplyYAMLPatchType), r, ns).Name(obj.GetName()).
		Param("fieldManager", manager).Param("force", "true").Body(doc).Do(ctx).Into(into)
}

func (c *client) list(ctx context.Context, r kind, ns string, o metav1.ListOptions, into runtime.Object) error {
	return c.at(c.of(r).Get(), r, ns).VersionedParams(&o, scheme().params).Do(ctx).Into(into)
}

func (c *client) watch(ctx context.Context, r kind, ns string, o metav1.ListOptions) (watch.Interface, error) {
	o.Watch = true
	return c.at(c.of(r).Get(), r, ns).VersionedParams(&o, scheme().params).Watch(ctx)
}

// patch merges a JSON document into an object.
func (c *client) patch(ctx context.Context, r kind, ns, name, doc string) error {
	return c.at(c.of(r).Patch(types.MergePatchType), r, ns).Name(name).Param("fieldManager", manager).Body([]byte(doc)).Do(ctx).Error()
}

func (c *client) remove(ctx context.Context, r kind, ns, name string, o metav1.DeleteOptions) error {
	return c.at(c.of(r).Delete(), r, ns).Name(name).Body(&o).Do(ctx).Error()
}

// redact takes the credentials out of a text, whoever put them there.
func (c *client) redact(s string) string {
	for _, secret := range c.secrets {
		if secret != "" {
			s = strings.ReplaceAll(s, secret, "***")
		}
	}
	return s
}
