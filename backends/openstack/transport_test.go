package openstack

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// script answers requests in order.
type script struct {
	answers []any // int: a status; error: no answer
	header  http.Header
	seen    []string
	closed  int
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	body := ""
	if r.Body != nil {
		b, _ := io.ReadAll(r.Body)
		body = string(b)
	}
	s.seen = append(s.seen, r.Method+" "+body)
	a := s.answers[0]
	s.answers = s.answers[1:]
	if err, ok := a.(error); ok {
		return nil, err
	}
	return &http.Response{StatusCode: a.(int), Header: s.header, Body: &counted{strings.NewReader("answer"), &s.closed}, Request: r}, nil
}

// counted counts bodies that were read to their end and closed.
type counted struct {
	r *strings.Reader
	n *int
}

func (c *counted) Read(p []byte) (int, error) { return c.r.Read(p) }
func (c *counted) Close() error {
	if c.r.Len() == 0 {
		*c.n++
	}
	return nil
}

func TestWhatIsTriedAgain(t *testing.T) {
	broken := errors.New("connection reset by peer")
	for name, c := range map[string]struct {
		method  string
		answers []any
		after   string
		tries   int
		took    time.Duration
		status  int // 0: an error
	}{
		"a read whose connection broke":       {"GET", []any{broken, broken, 200}, "", 3, 3 * time.Second, 200},
		"a delete whose connection broke":     {"DELETE", []any{broken, 204}, "", 2, time.Second, 204},
		"a read that never works":             {"GET", []any{broken, broken, broken, broken, 200}, "", 4, 7 * time.Second, 0},
		"a create whose connection broke":     {"POST", []any{broken, 202}, "", 1, 0, 0},
		"a create that has to wait":           {"POST", []any{429, 503, 202}, "7", 3, 14 * time.Second, 202},
		"a create that is refused":            {"POST", []any{503, 202}, "", 1, 0, 503},
		"a time that is too long":             {"POST", []any{429, 202}, "3600", 1, 0, 429},
		"a time that is none":                 {"GET", []any{503, 200}, "soon", 1, 0, 503},
		"a server error":                      {"GET", []any{500, 200}, "1", 1, 0, 500},
		"a create that is refused four times": {"POST", []any{429, 429, 429, 429, 202}, "1", 4, 3 * time.Second, 429},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{answers: c.answers, header: http.Header{}}
				if c.after != "" {
					s.header.Set("Retry-After", c.after)
				}
				r, err := http.NewRequestWithContext(t.Context(), c.method, "http://cloud/", strings.NewReader("body"))
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				resp, err := (&patient{next: s}).RoundTrip(r)
				status := 0
				if err == nil {
					status = resp.StatusCode
					resp.Body.Close()
				}
				if len(s.seen) != c.tries || status != c.status || time.Since(began) != c.took {
					t.Errorf("got %d tries, status %d (%v), after %v; want %d, %d, %v", len(s.seen), status, err, time.Since(began), c.tries, c.status, c.took)
				}
				for _, x := range s.seen {
					if x != c.method+" body" {
						t.Errorf("sent %q", x)
					}
				}
				answered := 0
				for _, a := range c.answers[:c.tries] {
					if _, ok := a.(int); ok {
						answered++
					}
				}
				if s.closed != answered {
					t.Errorf("%d of %d bodies were drained", s.closed, answered)
				}
			})
		})
	}
}

func TestADateIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answers: []any{503, 200}, header: http.Header{}}
		s.header.Set("Retry-After", time.Now().Add(20*time.Second).UTC().Format(http.TimeFormat))
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://cloud/", nil)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		resp, err := (&patient{next: s}).RoundTrip(r)
		if err != nil || resp.StatusCode != 200 || time.Since(began) != 20*time.Second {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		resp.Body.Close()
	})
}
