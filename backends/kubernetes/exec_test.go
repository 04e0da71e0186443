package kubernetes

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"dlx.dev/dlx/backends"
)

// Where a WebSocket is refused by something else than the API server, SPDY is tried; what the API
// server itself refuses stays refused.
func TestExecFallsBackToSPDY(t *testing.T) {
	const answer = `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": %d, "message": "%s"}`
	for _, c := range []struct {
		name, body string
		status     int
		spdy       int32
		class      backends.Class
	}{
		{"a proxy that knows no WebSockets", "forbidden by policy", http.StatusForbidden, 1, backends.Infra},
		{"an old server", fmt.Sprintf(answer, 400, "unable to upgrade: unable to negotiate protocol"), http.StatusBadRequest, 1, backends.Infra},
		{"a login that may not", fmt.Sprintf(answer, 403, `pods \"p\" is forbidden: User \"u\" cannot create resource \"pods/exec\"`), http.StatusForbidden, 0, backends.Config},
	} {
		var spdy atomic.Int32
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
				w.WriteHeader(c.status)
				_, _ = fmt.Fprint(w, c.body)
				return
			}
			if strings.HasPrefix(r.Header.Get("Upgrade"), "SPDY/") && r.URL.Path == "/api/v1/namespaces/bench/pods/p/exec" {
				spdy.Add(1)
			}
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = fmt.Fprintf(w, answer, 500, "container not found")
		}))
		client := connectTo(t, server.URL)
		_, err := client.exec(t.Context(), command{ns: "bench", pod: "p", words: []string{"true"}})
		if got := spdy.Load(); got != c.spdy {
			t.Errorf("%s: %d tries by SPDY; want %d (%v)", c.name, got, c.spdy, err)
		}
		if err = client.fail(t.Context(), "exec", err); backends.ClassOf(err) != c.class && (c.class != backends.Infra || !backends.ClassOf(err).Temporary()) {
			t.Errorf("%s: got %s: %v; want %s", c.name, backends.ClassOf(err), err, c.class)
		}
		client.close()
		server.Close()
	}
}

// A connection that breaks may have brought its request: a command, which is a GET, is not run twice
// as what only reads is.
func TestCommandsAreNotRepeated(t *testing.T) {
	var commands atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		commands.Add(1)
		if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = c.Close()
		}
	}))
	defer server.Close()
	client := connectTo(t, server.URL)
	defer client.close()
	if _, err := client.exec(t.Context(), command{ns: "bench", pod: "p", words: []string{"true"}}); err == nil || commands.Load() != 1 {
		t.Errorf("%d commands, %v; want one", commands.Load(), err)
	}
}

func connectTo(t *testing.T, url string) *client {
	t.Helper()
	c, err := connect([]byte(`{"apiVersion": "v1", "kind": "Config", "current-context": "a", "clusters": [{"name": "a", "cluster": {"server": "`+url+`"}}],
		"users": [{"name": "a", "user": {}}], "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}]}`), nil, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
