// Package all lists the kinds of backends there are, and joins those that belong together: a
// cluster that OpenStack made is reached by the launcher of kubernetes, and neither knows the
// other.
package all

import (
	"context"
	"errors"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/kubernetes"
	"dlx.dev/dlx/backends/model"
	"dlx.dev/dlx/backends/openstack"
)

// List gives every factory, sorted by kind.
func List() []backends.Factory {
	return []backends.Factory{
		kubernetes.Factory(),
		model.Factory(),
		{Kind: "openstack", Open: openOpenStack},
		{Kind: "sandbox", Open: openSandbox},
	}
}

func openOpenStack(ctx context.Context, o backends.Options) (*backends.Backend, error) {
	b, err := openstack.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	withPods(b, o)
	return b, nil
}

// withPods adds the launcher for machines that are nodes of clusters.
func withPods(b *backends.Backend, o backends.Options) {
	pods := kubernetes.New(kubernetes.Options{Log: o.Log})
	b.Launchers["kubernetes"] = pods
	closeCloud := b.Close
	b.Close = func(ctx context.Context) error { return errors.Join(pods.Close(), closeCloud(ctx)) }
}
