package kubernetes

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/klog/v2"
)

// quiet gives a context whose calls of client-go log to log instead of standard error. client-go
// takes the logger from the context, so that the logger of the whole process is left alone. Its
// few calls that know no context are a renewed login of an exec plugin that fails, which also
// comes back as an error, and one about in-cluster settings that this package reads itself.
func quiet(ctx context.Context, log func(string, ...any)) context.Context {
	return klog.NewContext(ctx, klog.New(sink{log: log}))
}

// sink is a log for client-go: what it finds worth saying, and errors.
type sink struct {
	log   func(string, ...any)
	names string
}

func (sink) Init(klog.RuntimeInfo) {}

// Enabled leaves out what is for debugging.
func (sink) Enabled(level int) bool { return level == 0 }

func (s sink) Info(_ int, msg string, kv ...any) {
	s.log("kubernetes: %s%s%s", s.names, msg, pairs(kv))
}

func (s sink) Error(err error, msg string, kv ...any) {
	s.log("kubernetes: %s%s%s: %v", s.names, msg, pairs(kv), err)
}

func (s sink) WithValues(kv ...any) klog.LogSink {
	return sink{s.log, s.names + strings.TrimSpace(pairs(kv)) + " "}
}

func (s sink) WithName(string) klog.LogSink { return s }

func pairs(kv []any) string {
	var b strings.Builder
	for i := 0; i+1 < len(kv); i += 2 {
		fmt.Fprintf(&b, " %v=%v", kv[i], kv[i+1])
	}
	return b.String()
}
