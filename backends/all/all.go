// Package all lists the kinds of backends there are.
package all

import (
	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/model"
	"dlx.dev/dlx/backends/openstack"
)

// List gives every factory, sorted by kind.
func List() []backends.Factory {
	return []backends.Factory{model.Factory(), openstack.Factory(), {Kind: "sandbox", Open: openSandbox}}
}
