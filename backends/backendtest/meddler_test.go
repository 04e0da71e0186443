package backendtest_test

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// meddler stands before real services and does what they would not do on request.
type meddler struct {
	next    *http.Transport
	secrets []string // repeated in refusals

	mu       sync.Mutex
	refusals int // so many of the next requests for a machine are refused
	status   int // with this
	after    int // and this Retry-After; below 0: none
	hangUps  int // the answers of so many of the next ones are lost
	seen     string
	void     string // a token that no service takes any more
}

func (m *meddler) refuse(status, after, times int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.status, m.after, m.refusals = status, after, times
}

func (m *meddler) hangUp() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hangUps++
}

// revoke makes the token in use void. Revoked at Keystone, Nova would take it until its cache
// forgets it.
func (m *meddler) revoke() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.void = m.seen
}

// token is the one in use.
func (m *meddler) token() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.seen
}

func (m *meddler) CloseIdleConnections() { m.next.CloseIdleConnections() }

func (m *meddler) RoundTrip(r *http.Request) (*http.Response, error) {
	const header = "X-Auth-Token"
	create := r.Method == http.MethodPost && (strings.HasSuffix(r.URL.Path, "/servers") || strings.HasSuffix(r.URL.Path, "/allocations"))
	m.mu.Lock()
	if token := r.Header.Get(header); token != "" {
		if m.seen = token; token == m.void {
			r = r.Clone(r.Context())
			r.Header.Set(header, "void")
		}
	}
	refuse, lose := create && m.refusals > 0, create && m.hangUps > 0
	if refuse {
		m.refusals--
		defer m.mu.Unlock()
		return m.refusal(r), nil
	}
	if lose {
		m.hangUps--
	}
	m.mu.Unlock()
	resp, err := m.next.RoundTrip(r)
	if lose && err == nil {
		_ = resp.Body.Close()
		return nil, errors.New("the answer was lost")
	}
	return resp, err
}

func (m *meddler) refusal(r *http.Request) *http.Response {
	body, header := `{"overLimit": {"code": 1, "message": "This request was rate-limited. `+strings.Join(m.secrets, " ")+`"}}`, http.Header{}
	if m.after >= 0 {
		header.Set("Retry-After", strconv.Itoa(m.after))
	}
	if r.Body != nil {
		_ = r.Body.Close()
	}
	return &http.Response{StatusCode: m.status, Status: strconv.Itoa(m.status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: r}
}
