package kubernetes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// answers gives errors in turn, then the body that came.
type answers struct {
	errs   []error
	bodies []string
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	a.bodies = append(a.bodies, string(body))
	if n := len(a.bodies) - 1; n < len(a.errs) && a.errs[n] != nil {
		return nil, a.errs[n]
	}
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
}

func TestARequestIsSentAgainWhenItsConnectionBreaks(t *testing.T) {
	closed := errors.New("http2: client connection force closed via ClientConn.Close")
	reset := &net.OpError{Op: "read", Err: syscall.ECONNRESET}
	pipe := &net.OpError{Op: "write", Err: syscall.EPIPE}
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	gone, end := context.WithCancel(t.Context())
	end()
	for _, c := range []struct {
		what   string
		ctx    context.Context
		method string
		body   io.Reader
		errs   []error
		sent   int
		fails  error
	}{
		{"a read", t.Context(), http.MethodGet, nil, []error{closed}, 2, nil},
		{"a removal", t.Context(), http.MethodDelete, strings.NewReader("x"), []error{reset}, 2, nil},
		{"an apply", t.Context(), http.MethodPatch, bytes.NewReader([]byte("x")), []error{pipe, io.ErrClosedPipe}, 3, nil},
		{"three in a row", t.Context(), http.MethodGet, nil, []error{reset, reset, closed}, 3, closed},
		{"what makes", t.Context(), http.MethodPost, strings.NewReader("x"), []error{reset}, 1, reset},
		{"a body that is read once", t.Context(), http.MethodPatch, io.NopCloser(strings.NewReader("x")), []error{reset}, 1, reset},
		{"no server", t.Context(), http.MethodGet, nil, []error{refused}, 1, refused},
		{"nobody waits", gone, http.MethodGet, nil, []error{closed}, 1, closed},
		{"all well", t.Context(), http.MethodGet, nil, nil, 1, nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			req, err := http.NewRequestWithContext(c.ctx, c.method, "https://127.0.0.1/", c.body)
			if err != nil {
				t.Fatal(err)
			}
			a := &answers{errs: c.errs}
			resp, err := (&resent{a}).RoundTrip(req)
			if !errors.Is(err, c.fails) || (err == nil) != (c.fails == nil) {
				t.Errorf("got error %v; want %v", err, c.fails)
			}
			if err == nil {
				_ = resp.Body.Close()
			}
			want := ""
			if c.body != nil {
				want = "x"
			}
			if got, all := fmt.Sprint(a.bodies), fmt.Sprint(strings.Split(strings.Repeat(want+" ", c.sent-1)+want, " ")); got != all {
				t.Errorf("sent %v; want %v", got, all)
			}
		})
	}
}
