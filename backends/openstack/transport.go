package openstack

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// newHTTP is the way to the services when none is given.
func newHTTP(tc *tls.Config) *http.Transport {
	return &http.Transport{
		Proxy:           http.ProxyFromEnvironment,
		TLSClientConfig: tc,
		DialContext:     (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		// The zero value keeps 2 idle connections a host: 32 workers then make 778 TLS
		// handshakes for 1000 requests.
		MaxIdleConns: 256, MaxIdleConnsPerHost: 64,
		IdleConnTimeout:     90 * time.Second,
		TLSHandshakeTimeout: 30 * time.Second,
		// Nova answers a create after scheduling at worst; proxies in front of it cut after
		// one to two minutes.
		ResponseHeaderTimeout: 5 * time.Minute,
		ForceAttemptHTTP2:     true,
	}
}

// patient repeats what may be repeated without asking: any request that was refused with 429 or
// 503 and a Retry-After, and reads and deletes whose connection broke. A POST that may have
// arrived is never sent again.
type patient struct{ next http.RoundTripper }

const (
	maxTries = 4
	maxPause = time.Minute // a longer Retry-After is left to the executor
)

func (p *patient) RoundTrip(r *http.Request) (*http.Response, error) {
	for try := 1; ; try++ {
		if try > 1 && r.GetBody != nil {
			body, err := r.GetBody()
			if err != nil {
				return nil, err
			}
			r = r.Clone(r.Context())
			r.Body = body
		}
		resp, err := p.next.RoundTrip(r)
		wait, again := pauseAfter(r, resp, err, try)
		if !again || try == maxTries || r.Context().Err() != nil || (r.Body != nil && r.GetBody == nil) {
			if resp != nil {
				resp.Body = &draining{resp.Body}
			}
			return resp, err
		}
		if resp != nil {
			_ = (&draining{resp.Body}).Close()
		}
		select {
		case <-time.After(wait):
		case <-r.Context().Done():
			return nil, context.Cause(r.Context())
		}
	}
}

// pauseAfter says whether to try again, and when.
func pauseAfter(r *http.Request, resp *http.Response, err error, try int) (time.Duration, bool) {
	backoff := time.Second << (try - 1)
	switch {
	case err != nil:
		return backoff, (r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodDelete) && !errors.Is(err, context.Canceled)
	case resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable:
		return 0, false
	}
	text := resp.Header.Get("Retry-After")
	if s, err := strconv.Atoi(text); err == nil && s >= 0 {
		d := time.Duration(s) * time.Second
		return d, d <= maxPause
	}
	if t, err := http.ParseTime(text); err == nil {
		d := max(time.Until(t), 0)
		return d, d <= maxPause
	}
	return 0, false
}

// draining reads a body to its end when it is closed early, so that the connection can be used
// again: the last chunk of an answer often comes a moment late.
type draining struct{ io.ReadCloser }

// maxDrain bounds what is read for that: more costs more than a new connection.
const maxDrain = 256 << 10

func (d *draining) Close() error {
	_, _ = io.CopyN(io.Discard, d.ReadCloser, maxDrain)
	return d.ReadCloser.Close()
}
