package sandbox

import (
	"net/http"
	"path"
	"strings"
	"sync"
	"time"
)

// Faults are failures on request. The zero value has none; methods may be called at any time.
type Faults struct {
	mu    sync.Mutex
	rules []*rule
	boots []*boot
}

// rule is what one kind of request gets.
type rule struct {
	method, path string
	times        int
	status       int
	body         string
	header       http.Header
	hangup       bool // serve it, then break the connection instead of answering
	delay        time.Duration
}

// boot is what becomes of servers with a name.
type boot struct {
	name    string
	times   int
	reason  string
	code    int
	forever bool
}

// Fail answers the next requests that fit with a status and a body. A request fits when its
// method is the same and its path, below the service's version ("POST /servers",
// "GET /servers/detail", "DELETE /servers/*"), matches as by path.Match. Header pairs such as
// "Retry-After", "1" go into the answer.
func (f *Faults) Fail(request string, status int, body string, times int, header ...string) {
	r := newRule(request, times)
	r.status, r.body = status, body
	for i := 0; i+1 < len(header); i += 2 {
		r.header.Add(header[i], header[i+1])
	}
	f.add(r)
}

// HangUp serves the next requests that fit, then breaks the connection instead of answering:
// the client cannot know whether they arrived.
func (f *Faults) HangUp(request string, times int) {
	r := newRule(request, times)
	r.hangup = true
	f.add(r)
}

// Delay lets the next requests that fit wait before they are served.
//
// Requests of a cluster's Kubernetes API are matched with their whole path ("POST
// /api/v1/namespaces/*/pods", "GET /version"); a watch has the method WATCH. This goes for Fail
// and HangUp as well.
func (f *Faults) Delay(request string, d time.Duration, times int) {
	r := newRule(request, times)
	r.delay = d
	f.add(r)
}

// Boot lets servers and nodes whose name matches (path.Match) end in ERROR, with the reason as
// fault message, the next times.
func (f *Faults) Boot(name string, code int, reason string, times int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.boots = append(f.boots, &boot{name: name, code: code, reason: reason, times: times})
}

// Stuck lets servers whose name matches stay in BUILD, the next times.
func (f *Faults) Stuck(name string, times int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.boots = append(f.boots, &boot{name: name, forever: true, times: times})
}

func newRule(request string, times int) *rule {
	method, p, _ := strings.Cut(request, " ")
	return &rule{method: method, path: p, times: times, header: http.Header{}}
}

func (f *Faults) add(r *rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, r)
}

// request takes the first rule that fits.
func (f *Faults) request(method, p string) *rule {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.rules {
		if ok, _ := path.Match(r.path, p); ok && r.method == method && r.times > 0 {
			r.times--
			return r
		}
	}
	return nil
}

// booting takes the first boot fault that fits.
func (f *Faults) booting(name string) *boot {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range f.boots {
		if ok, _ := path.Match(b.name, name); ok && b.times > 0 {
			b.times--
			return b
		}
	}
	return nil
}
