package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/spec/words"
)

var _ backends.Checker = (*provider)(nil)

// inspection is one comparison of needs with a cluster.
type inspection struct {
	*client
	ns      string // the testbed's; "": each run makes its own
	nodes   []corev1.Node
	seen    bool   // nodes may be read
	missing bool   // the namespace is known not to be there
	run     string // that may have some of it; "": none
	needs   []backends.Need
	gpu     []string // by need, the resource that GPUs count as; "": they are devices
	class   []string // by need, the class of these
	found   []backends.Finding
}

// Check implements backends.Checker.
func (p *provider) Check(ctx context.Context, run string, needs []backends.Need) ([]backends.Finding, error) {
	api, err := connect(p.kubeconfig, p.l.opt.Dial, p.l.opt.Log)
	if err != nil {
		return nil, backends.Errorf(backends.Config, "check the cluster", "%w", err)
	}
	defer api.close()
	ctx = quiet(ctx, p.l.opt.Log)
	c := &inspection{client: api, ns: p.namespace, run: run, needs: needs, gpu: make([]string, len(needs)), class: make([]string, len(needs))}
	if err := api.fail(ctx, "list nodes", c.readNodes(ctx)); err != nil {
		return nil, err
	}
	if c.missing, err = c.namespaceMissing(ctx); err != nil {
		return nil, err
	}
	for i := range needs {
		if err := c.need(ctx, i); err != nil {
			return c.found, err
		}
	}
	c.total()
	for _, look := range []func(context.Context) error{c.rights, c.quota} {
		if err := look(ctx); err != nil {
			return c.found, err
		}
	}
	return c.found, nil
}

func (c *inspection) finding(need, machine int, field, format string, args ...any) {
	c.found = append(c.found, backends.Finding{Need: need, Machine: machine, Field: field, Msg: c.redact(fmt.Sprintf(format, args...))})
}

// readNodes lists the nodes. A login that may not see them is usual, and learns less.
func (c *inspection) readNodes(ctx context.Context) error {
	var list corev1.NodeList
	err := c.list(ctx, nodes, "", metav1.ListOptions{}, &list)
	if forbidden(err) {
		return nil
	}
	c.nodes, c.seen = list.Items, err == nil
	return err
}

// need looks at the machines of a fleet. Equal ones are looked at once.
func (c *inspection) need(ctx context.Context, i int) error {
	n := &c.needs[i]
	looked := map[string]bool{}
	for m, r := range n.Machines {
		machine := m
		if !slices.ContainsFunc(n.Machines, func(x backends.MachineRequest) bool { return string(x.Spec) != string(r.Spec) }) {
			machine = -1
		}
		if looked[string(r.Spec)] {
			continue
		}
		looked[string(r.Spec)] = true
		p, err := parsePod(r.Spec)
		if err != nil {
			c.finding(i, machine, "", "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
			continue
		}
		c.gpu[i], c.class[i] = p.GPU, p.DeviceClass
		if p.JobSet != nil && *p.JobSet {
			use, err := c.useOfSets(ctx, c.ns)
			if err != nil {
				return c.fail(ctx, "look for JobSet", err)
			}
			if why := use.missing(c.ns); why != "" {
				c.finding(i, machine, "jobSet", "%s", why)
			}
		}
		var l backends.Load
		count := 0
		for k, x := range n.Machines {
			if string(x.Spec) != string(r.Spec) {
				continue
			}
			if count++; k < len(n.Loads) {
				l = backends.Load{Processes: max(l.Processes, n.Loads[k].Processes), CPUs: max(l.CPUs, n.Loads[k].CPUs), GPUs: max(l.GPUs, n.Loads[k].GPUs), MemoryMiB: max(l.MemoryMiB, n.Loads[k].MemoryMiB)}
			}
		}
		before := len(c.found)
		s := &spotCheck{need: i, machine: machine, pod: &p, load: l, count: count, hosts: n.Hosts}
		c.place(s)
		if err := c.named(ctx, i, machine, &p); err != nil {
			return err
		}
		if len(c.found) == before {
			if err := c.admission(ctx, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// named looks for what a pod names in its namespace and in the cluster.
func (c *inspection) named(ctx context.Context, need, machine int, p *Pod) error {
	type thing struct{ field, what, name, path string }
	var all []thing
	api := "/api/v1"
	in := func(field, what, name, kind string) {
		if name == "" {
			return
		}
		if c.ns == "" {
			c.finding(need, machine, field, `%s %q is in no namespace that a run makes for itself: name one in which it is, by "namespace" of the cloud`, what, name)
			return
		}
		all = append(all, thing{field, what, name, api + "/namespaces/" + c.ns + "/" + kind + "/"})
	}
	in("scratch.claim", "claim", p.Scratch.Claim, "persistentvolumeclaims")
	for i, m := range p.Mounts {
		in(fmt.Sprintf("mounts[%d].claim", i), "claim", m.Claim, "persistentvolumeclaims")
	}
	in("pullSecret", "secret", p.PullSecret, "secrets")
	if p.ServiceAccount != "default" {
		in("serviceAccount", "service account", p.ServiceAccount, "serviceaccounts")
	}
	api = "/apis/kueue.x-k8s.io/v1beta1"
	in("queue", "LocalQueue", p.Queue, "localqueues")
	if p.RuntimeClass != "" {
		all = append(all, thing{"runtimeClass", "runtime class", p.RuntimeClass, "/apis/node.k8s.io/v1/runtimeclasses/"})
	}
	if p.DeviceClass != "" {
		all = append(all, thing{"deviceClass", "device class", p.DeviceClass, "/apis/resource.k8s.io/v1/deviceclasses/"})
	}
	for _, t := range all {
		var got struct {
			Status struct {
				Phase string `json:"phase"`
			} `json:"status"`
		}
		err := c.read(ctx, t.path+t.name, &got)
		switch {
		case notFound(err):
			names, err := c.namesAt(ctx, strings.TrimSuffix(t.path, "/"))
			if err != nil {
				return err
			}
			c.finding(need, machine, t.field, "the cluster has no %s %q%s", t.what, t.name, names(t.name))
		case forbidden(err):
		case err != nil:
			return c.fail(ctx, "find "+t.what+" "+t.name, err)
		case got.Status.Phase == "Lost":
			c.finding(need, machine, t.field, "claim %q has lost its volume", t.name)
		}
	}
	return nil
}

// namesAt gives what tells the names of a kind of object, where they may be listed.
func (c *inspection) namesAt(ctx context.Context, path string) (func(word string) string, error) {
	var list struct {
		Items []struct {
			Metadata metav1.ObjectMeta `json:"metadata"`
		} `json:"items"`
	}
	err := c.read(ctx, path, &list)
	if notFound(err) || forbidden(err) {
		return func(string) string { return "" }, nil
	}
	var names []string
	for _, i := range list.Items {
		names = append(names, i.Metadata.Name)
	}
	return func(word string) string { return words.Known(word, words.Set(names)) }, c.fail(ctx, "list "+path, err)
}

// read gets a document of any kind.
func (c *client) read(ctx context.Context, path string, into any) error {
	b, err := c.core.Get().AbsPath(path).SetHeader("Accept", "application/json").Do(ctx).Raw()
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// A right is what dlx does with a kind of object: those of the roles in rbac, but for nodes, which are
// not needed.
type right struct {
	group, resource, sub string
	verbs                []string
}

var (
	rightsInside = []right{
		{"", "pods", "", []string{"create", "get", "list", "watch", "patch", "delete"}},
		{"", "pods", "exec", []string{"create", "get"}},
		{"", "configmaps", "", []string{"create", "get", "list", "patch", "delete"}},
		{"", "services", "", []string{"create", "get", "list", "patch"}},
		{"", "events", "", []string{"list", "watch"}},
		{"batch", "jobs", "", []string{"create", "get", "list", "delete"}},
	}
	rightsToJobSets    = right{jobSetGroup.Group, "jobsets", "", []string{"create", "get", "list", "delete"}}
	rightsToDevices    = right{"resource.k8s.io", "resourceclaimtemplates", "", []string{"create", "patch"}}
	rightsToNamespaces = right{"", "namespaces", "", []string{"create", "get", "delete"}}
)

// rights asks what the login may do of all that dlx does.
func (c *inspection) rights(ctx context.Context) error {
	if len(c.needs) == 0 {
		return nil
	}
	wanted := slices.Clone(rightsInside)
	if slices.ContainsFunc(c.class, func(name string) bool { return name != "" }) {
		wanted = append(wanted, rightsToDevices)
	}
	field, where, why := "namespace", fmt.Sprintf(" in namespace %q", c.ns), fmt.Sprintf(", and namespace %q is not there", c.ns)
	if c.ns == "" {
		field, where, why = "", " in a namespace that a run makes for itself", ""
	}
	if c.missing {
		wanted = append(wanted, rightsToNamespaces)
	}
	lacking := make([][]string, len(wanted))
	g, gctx := errgroup.WithContext(ctx)
	for i, r := range wanted {
		g.Go(func() error {
			for _, verb := range r.verbs {
				switch ok, err := c.may(gctx, r, verb, c.ns); {
				case err != nil:
					return err
				case !ok:
					lacking[i] = append(lacking[i], verb)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, verbs := range lacking {
		if r := wanted[i]; len(verbs) > 0 {
			name := r.resource + where
			switch {
			case r.sub != "":
				name = r.resource + "/" + r.sub + where
			case r.resource == rightsToNamespaces.resource:
				name = r.resource + why
			}
			would := "grant it these verbs"
			if c.ns == "" {
				would += `, or name a namespace that is there, by "namespace" of the cloud`
			}
			c.finding(-1, -1, field, "the login may not %s %s: %s", strings.Join(verbs, ", "), name, would)
		}
	}
	return nil
}

// namespaceMissing reports that the namespace is known not to be there: the testbed's, or a run's own.
func (c *inspection) namespaceMissing(ctx context.Context) (bool, error) {
	if c.ns == "" {
		return true, nil
	}
	var ns corev1.Namespace
	err := c.get(ctx, namespaces, "", c.ns, &ns)
	switch {
	case notFound(err):
		return true, nil
	case err == nil, forbidden(err):
		return false, nil
	}
	return false, c.fail(ctx, "namespace "+c.ns, err)
}

// may asks the cluster whether the login may do something in a namespace. One that does not say may.
func (c *client) may(ctx context.Context, r right, verb, ns string) (bool, error) {
	attributes := map[string]string{"verb": verb, "group": r.group, "resource": r.resource, "subresource": r.sub}
	if r.resource != rightsToNamespaces.resource {
		attributes["namespace"] = ns
	}
	body, err := json.Marshal(map[string]any{"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": map[string]any{"resourceAttributes": attributes}})
	if err != nil {
		return false, err
	}
	raw, err := c.core.Post().AbsPath("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews").
		SetHeader("Accept", "application/json").SetHeader("Content-Type", "application/json").Body(body).Do(ctx).Raw()
	var status apierrors.APIStatus
	if errors.As(err, &status) && slices.Contains([]int32{http.StatusForbidden, http.StatusNotFound}, status.Status().Code) {
		return true, nil
	}
	if err != nil {
		return false, c.fail(ctx, "ask what the login may do", err)
	}
	var out struct {
		Status struct {
			Allowed bool `json:"allowed"`
		} `json:"status"`
	}
	err = json.Unmarshal(raw, &out)
	return out.Status.Allowed, c.fail(ctx, "ask what the login may do", err)
}
