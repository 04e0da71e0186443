package kubernetes

import (
	"context"
	"slices"
	"strings"

	"dlx.dev/dlx/backends"
)

// Factory opens clusters of kind "kubernetes".
func Factory() backends.Factory {
	return backends.Factory{Kind: "kubernetes", Open: Open}
}

// Open finds the cluster that the settings name. It asks the cluster nothing yet.
func Open(_ context.Context, o backends.Options) (*backends.Backend, error) {
	op := "cloud " + o.Cloud
	var c Config
	if err := strict(o.Config, &c); err != nil {
		return nil, backends.Errorf(backends.Config, op, "%w", err)
	}
	if c.Namespace != "" && (!dnsLabel.MatchString(c.Namespace) || len(c.Namespace) > maxLabel) {
		return nil, backends.Errorf(backends.Config, op, "namespace: %q is no DNS label", c.Namespace)
	}
	kubeconfig, err := load(c)
	if err != nil {
		return nil, backends.Errorf(backends.Config, op, "%w", err)
	}
	return NewBackend(kubeconfig, c.Namespace, Options{Log: o.Log})
}

// NewBackend opens the cluster of a kubeconfig. Without a namespace each run makes its own.
func NewBackend(kubeconfig []byte, namespace string, o Options) (*backends.Backend, error) {
	l := New(o)
	if _, _, err := restConfig(kubeconfig, l.opt.Log); err != nil {
		return nil, backends.Errorf(backends.Config, "open the cluster", "%w", err)
	}
	return &backends.Backend{
		Provider:  &provider{l: l, kubeconfig: kubeconfig, namespace: namespace},
		Launchers: map[string]backends.Launcher{"kubernetes": l},
		Close:     func(context.Context) error { return l.Close() },
	}, nil
}

// provider implements backends.Provider for a cluster that stands already.
type provider struct {
	l          *Launcher
	kubeconfig []byte
	namespace  string // empty: the run's own
}

func (p *provider) namespaceOf(run string) string {
	if p.namespace != "" {
		return p.namespace
	}
	return namespaceName(run)
}

// Provision makes the holders of a fleet, or finds them.
func (p *provider) Provision(ctx context.Context, req backends.FleetRequest) ([]backends.Machine, error) {
	op := "provision " + req.Owner.Fleet
	if err := checkOwner(req.Owner, true); err != nil {
		return nil, backends.Errorf(backends.Internal, op, "%w", err)
	}
	if len(req.Machines) == 0 {
		return nil, nil
	}
	f := &fleet{owner: req.Owner, ns: p.namespaceOf(req.Owner.Run), until: req.Until, ledger: req.Ledger}
	for _, m := range req.Machines {
		s, err := spotOf(backends.Machine{Name: m.Name, Access: backends.Access{Kubernetes: &backends.Kubernetes{
			Config: p.kubeconfig, Namespace: f.ns, Owner: req.Owner, Hosts: req.Hosts, Pod: m.Spec}}})
		if err != nil {
			return nil, err
		}
		if s.pod.Queue != "" && p.namespace == "" {
			return nil, backends.Errorf(backends.Config, op, `queue %q of machine %s is in no namespace that a run makes for itself: name the one in which it is, by "namespace" of the cloud`, s.pod.Queue, m.Name)
		}
		f.spots = append(f.spots, s)
	}
	return p.l.prepare(ctx, f)
}

// Owned lists what exists for an owner. The namespace belongs to the run as a whole.
func (p *provider) Owned(ctx context.Context, o backends.Owner) ([]backends.Object, error) {
	if err := checkOwner(o, false); err != nil {
		return nil, backends.Errorf(backends.Internal, "list", "%w", err)
	}
	c, err := p.l.cluster(ctx, p.kubeconfig, p.namespaceOf(o.Run))
	if err != nil {
		return nil, err
	}
	ctx = quiet(ctx, c.log)
	all, err := c.listOwned(ctx, o)
	if err != nil {
		return nil, err
	}
	var out []backends.Object
	for _, t := range all {
		out = append(out, backends.Object{Kind: t.kind.words(), Name: t.GetName(), ID: string(t.GetUID())})
	}
	if o.Fleet == "" {
		ns, err := c.ownNamespace(ctx, o)
		if err != nil {
			return nil, err
		}
		if ns != nil {
			out = append(out, backends.Object{Kind: namespaces.words(), Name: ns.Name, ID: string(ns.UID)})
		}
	}
	slices.SortFunc(out, func(a, b backends.Object) int {
		return strings.Compare(a.Kind+" "+a.Name+" "+a.ID, b.Kind+" "+b.Name+" "+b.ID)
	})
	return out, nil
}
