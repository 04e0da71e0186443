package openstack

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"

	"dlx.dev/dlx/backends"
)

// bootError says why a server is in ERROR, with the end of its console log if it has one.
func (o *provider) bootError(ctx context.Context, v *serverView) error {
	fault := o.fault(ctx, v)
	why := cmp.Or(o.cloud.redact(clip(fault)), "no reason given")
	return backends.Errorf(faultClass(fault), "server "+v.Name, "it is in state ERROR: %s%s", strings.TrimSpace(why), o.console(ctx, v.ID))
}

// faultTime is how long a server may be in ERROR without a reason: Nova's conductor writes the state
// first and the fault afterwards, some 100 ms later on a busy machine.
const faultTime = 20 * time.Second

// fault gives the reason of a server in ERROR, which may come a moment after the state.
func (o *provider) fault(ctx context.Context, v *serverView) string {
	for end, pause := time.Now().Add(faultTime), min(o.p.PollMin, time.Second); ; {
		if v.Fault.Message != "" || time.Now().After(end) {
			return v.Fault.Message
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ""
		}
		again, err := o.server(ctx, v.ID)
		if err != nil || again == nil {
			return ""
		}
		v = again
	}
}

// console gives the end of a server's console log as a part of a sentence, or nothing.
func (o *provider) console(ctx context.Context, id string) string {
	ctx, cancel := context.WithTimeout(ctx, consoleTime)
	defer cancel()
	text, err := servers.ShowConsoleOutput(ctx, o.cloud.compute, id, servers.ShowConsoleOutputOpts{Length: 5}).Extract()
	if text = strings.Join(strings.Fields(text), " "); err != nil || text == "" {
		return ""
	}
	return "; the console ends with: " + o.cloud.redact(clip(text))
}
