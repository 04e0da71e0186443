package kubernetes

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"

	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// limited lets some requests through at a time. A watch counts until it is answered.
type limited struct {
	next http.RoundTripper
	room chan struct{}
}

func (l *limited) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case l.room <- struct{}{}:
		defer func() { <-l.room }()
		return l.next.RoundTrip(r)
	case <-r.Context().Done():
		return nil, context.Cause(r.Context())
	}
}

// WrappedRoundTripper lets client-go find what is below.
func (l *limited) WrappedRoundTripper() http.RoundTripper { return l.next }

// renewing sends requests a second time where the login can be renewed.
func (c *client) renewing(next http.RoundTripper) http.RoundTripper {
	if c.cfg.ExecProvider == nil && c.cfg.BearerTokenFile == "" {
		return next
	}
	return &renewed{next: next, file: c.cfg.BearerTokenFile}
}

// renewed sends a request once more that was refused with a login which can be renewed. client-go calls
// a plugin again then, and hands out the refusal; a file it reads again after a minute.
type renewed struct {
	next http.RoundTripper
	file string // with the token; "": a plugin has it
}

func (n *renewed) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := n.next.RoundTrip(r)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || r.Body != nil && r.GetBody == nil {
		return resp, err
	}
	again := r.Clone(r.Context())
	if r.Body != nil {
		if again.Body, err = r.GetBody(); err != nil {
			return resp, nil //nolint:nilerr // the refusal is the answer
		}
	}
	if token, err := os.ReadFile(n.file); n.file != "" && err == nil {
		again.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10) // the connection is of use again
	_ = resp.Body.Close()
	return n.next.RoundTrip(again)
}

// WrappedRoundTripper lets client-go find what is below.
func (n *renewed) WrappedRoundTripper() http.RoundTripper { return n.next }

// idempotent are the methods whose requests may reach a server twice: the same is so after both.
// What a second removal finds gone is gone; POST, which makes Jobs and namespaces, is not of them.
var idempotent = []string{http.MethodGet, http.MethodHead, http.MethodDelete, http.MethodPatch}

// resends is how often a request is sent again. All requests share one connection, so one that
// breaks takes many with it; a second one that does too is more than chance, and is reported.
const resends = 2

// resent sends a request once more, on a new connection, whose connection broke before an answer
// came. client-go does so for GET alone, and not for each of the ways in which net/http says it.
type resent struct{ next http.RoundTripper }

func (s *resent) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := s.next.RoundTrip(r)
	for range resends {
		if err == nil || r.Context().Err() != nil || !broken(err) || !slices.Contains(idempotent, r.Method) || r.Body != nil && r.GetBody == nil {
			break
		}
		again := r.Clone(r.Context())
		if r.Body != nil {
			body, bodyErr := r.GetBody()
			if bodyErr != nil {
				break
			}
			again.Body = body
		}
		resp, err = s.next.RoundTrip(again)
	}
	return resp, err
}

// WrappedRoundTripper lets client-go find what is below.
func (s *resent) WrappedRoundTripper() http.RoundTripper { return s.next }

// broken reports whether a request failed since its connection broke. One that could not be made is
// something else: a server that is down is not there a moment later either.
func broken(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) || utilnet.IsConnectionReset(err) || utilnet.IsProbableEOF(err) || utilnet.IsHTTP2ConnectionLost(err) ||
		// A write of another request found the connection broken: net/http has no type for it.
		strings.Contains(err.Error(), "http2: client connection force closed")
}
