package backendtest_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"dlx.dev/dlx/backends"
)

// strict is a ledger that complains about objects which were not intended.
type strict struct {
	t     *testing.T
	mu    sync.Mutex
	known map[string]bool
}

func (l *strict) Intend(_ context.Context, _ backends.Owner, o backends.Object) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known[o.Kind+" "+o.Name] = true
	return nil
}

func (l *strict) Made(_ context.Context, o backends.Owner, obj backends.Object) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if obj.ID == "" || obj.Name == "" {
		l.t.Errorf("made %+v", obj)
	}
	if whole := obj.Kind == "network" || obj.Kind == "subnet" || obj.Kind == "router" || obj.Kind == "securitygroup"; whole != (o.Fleet == "") && obj.Kind != "keypair" {
		l.t.Errorf("%s %s is noted for fleet %q", obj.Kind, obj.Name, o.Fleet)
	}
	return nil
}

func (l *strict) Gone(context.Context, backends.Owner, backends.Object) error { return nil }

// between stands between a provider and its cloud.
type between struct {
	next http.RoundTripper

	mu      sync.Mutex
	changes int // that are let through before the process dies; below 0: it lives
	arrives bool
	dead    bool
	busy    map[string]int // refusals by part of the path
}

func newBetween(next http.RoundTripper) *between {
	return &between{next: next, changes: -1, busy: map[string]int{}}
}

func (m *between) die(at int, arrives bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changes, m.arrives = at, arrives
}

// heal ends all trouble, and gives whether the process died.
func (m *between) heal() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	died := m.dead
	m.changes, m.dead = -1, false
	return died
}

func (m *between) inUse(path string, times int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.busy[path] = times
}

func (m *between) CloseIdleConnections() {
	if c, ok := m.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// died is what a process gets to hear that is not there any more: no answer would be asked for again.
func died(r *http.Request) (*http.Response, error) {
	return answer(r, http.StatusBadRequest, `{"badRequest": {"message": "the process has died"}}`), nil
}

func (m *between) RoundTrip(r *http.Request) (*http.Response, error) {
	change := r.Method != http.MethodGet && !strings.HasSuffix(r.URL.Path, "/auth/tokens")
	m.mu.Lock()
	if m.dead {
		m.mu.Unlock()
		return died(r)
	}
	if change && m.changes > 0 {
		if m.changes--; m.changes == 0 {
			m.dead = true
			arrives := m.arrives
			m.mu.Unlock()
			if arrives {
				if resp, err := m.next.RoundTrip(r); err == nil {
					_ = resp.Body.Close()
				}
			}
			return died(r)
		}
	}
	for path, n := range m.busy {
		if n > 0 && change && strings.Contains(r.URL.Path, path) && (r.Method == http.MethodDelete || strings.Contains(path, "remove")) {
			m.busy[path]--
			m.mu.Unlock()
			return answer(r, http.StatusConflict, `{"NeutronError": {"type": "NetworkInUse", "message": "There are one or more ports still in use.", "detail": ""}}`), nil
		}
	}
	m.mu.Unlock()
	return m.next.RoundTrip(r)
}

func answer(r *http.Request, status int, body string) *http.Response {
	if r.Body != nil {
		_ = r.Body.Close()
	}
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), Request: r}
}
