package backendtest_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/backendtest"
	"dlx.dev/dlx/backends/sandbox"
)

// What is between dlx and a cloud's services breaks in every way while fleets come and go: nothing is
// lost, nothing is made twice, nothing is left.

// A fault is what a proxy does with a request instead of handing it on, or after it has done so.
type fault struct {
	name   string
	status int    // answered
	wait   string // Retry-After
	late   bool   // the request arrives at the service first
	cut    bool   // the connection is reset
	hang   bool   // nothing is answered until the client has enough
}

var faults = []fault{
	{name: "the token is void", status: http.StatusUnauthorized},
	{name: "too many requests, come back", status: http.StatusTooManyRequests, wait: "1"},
	{name: "too many requests", status: http.StatusTooManyRequests},
	{name: "over a limit, as older Novas say it", status: http.StatusRequestEntityTooLarge, wait: "1"},
	{name: "internal error", status: http.StatusInternalServerError},
	{name: "bad gateway", status: http.StatusBadGateway},
	{name: "unavailable, come back", status: http.StatusServiceUnavailable, wait: "1"},
	{name: "gateway timeout, and the request arrived", status: http.StatusGatewayTimeout, late: true},
	{name: "internal error, and the request arrived", status: http.StatusInternalServerError, late: true},
	{name: "reset", cut: true},
	{name: "reset, and the request arrived", cut: true, late: true},
	{name: "no answer", hang: true},
	{name: "no answer, and the request arrived", hang: true, late: true},
}

// faultProxy is an HTTP proxy that does every so often what a fault says.
type faultProxy struct {
	*httptest.Server
	pass http.Handler

	mu     sync.Mutex
	dice   *rand.Rand
	faults []fault // in turn
	every  int     // one of so many requests; 0: none
	seen   int
	turn   int             // the fault that is next
	done   map[string]int  // by name of the fault
	tokens map[string]bool // that went by
	void   map[string]bool

	revoked bool // a token was made void in this weather
}

func newFaultProxy(t *testing.T) *faultProxy {
	t.Helper()
	p := &faultProxy{dice: rand.New(rand.NewPCG(1, 2)), done: map[string]int{}, tokens: map[string]bool{}, void: map[string]bool{}}
	p.pass = &httputil.ReverseProxy{
		Rewrite:      func(*httputil.ProxyRequest) {}, // a proxy's requests say where they go
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

// transport goes through the proxy, also to this computer. It waits for an answer so long.
func (p *faultProxy) transport(t *testing.T, patience time.Duration) *http.Transport {
	t.Helper()
	at, err := url.Parse(p.URL)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Transport{Proxy: http.ProxyURL(at), ResponseHeaderTimeout: patience, MaxIdleConnsPerHost: 64}
}

// set begins with other faults.
func (p *faultProxy) set(every int, faults ...fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.every, p.faults, p.seen, p.revoked = every, faults, 0, false
}

// next says what happens to a request; nil: it is handed on. A token is void once in each weather: what has
// just logged in, and is refused again, has no login.
func (p *faultProxy) next(r *http.Request) *fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	token := r.Header.Get("X-Auth-Token")
	if p.void[token] {
		return &faults[0]
	}
	if token != "" {
		p.tokens[token] = true
	}
	if p.seen++; p.every == 0 || p.seen != 2 && p.dice.IntN(p.every) != 0 { // one for certain, soon
		return nil
	}
	f := p.faults[p.turn%len(p.faults)]
	p.turn++
	if f.status == http.StatusUnauthorized {
		if token == "" || p.revoked {
			return nil
		}
		p.void[token], p.revoked = true, true
	}
	p.done[f.name]++
	return &f
}

func (p *faultProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f := p.next(r)
	if f == nil {
		p.pass.ServeHTTP(w, r)
		return
	}
	if f.late {
		p.pass.ServeHTTP(httptest.NewRecorder(), r)
	}
	switch {
	case f.hang:
		_, _ = io.Copy(io.Discard, r.Body) // only then does the server see the client go
		select {
		case <-r.Context().Done():
		case <-time.After(time.Minute):
		}
	case f.cut:
		if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
		}
	default:
		if f.wait != "" {
			w.Header().Set("Retry-After", f.wait)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(f.status)
		fmt.Fprintf(w, `{"error": {"code": %d, "message": "The proxy had enough of %s."}}`, f.status, r.Header.Get("X-Auth-Token"))
	}
}

func TestFaultsSandbox(t *testing.T) {
	t.Parallel()
	for name, spec := range map[string]string{"nova": server, "ironic": node} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, said := newFaultProxy(t), &words{}
			w := &world{t: t, spec: spec, poll: 20 * time.Millisecond, via: p.transport(t, time.Second), log: said.add}
			w.cfg = sandbox.Config{State: t.TempDir(), Hosts: 4, BuildTime: 50 * time.Millisecond, DeleteTime: 50 * time.Millisecond}
			b := w.bed()
			for i, f := range faults {
				p.weather(t, &novaBed{Bed: b}, said, fmt.Sprint("f", i), 2, 7, f)
			}
			p.weather(t, &novaBed{Bed: b}, said, "all", 4, 9, faults...)
			p.quiet(t, b, said)
		})
	}
}

func TestFaultsCloud(t *testing.T) {
	t.Parallel()
	if why := noReal(); why != "" {
		backendtest.Run(t, backendtest.World{Name: "openstack/cloud", Skip: why})
		return
	}
	for _, c := range []struct {
		name string
		bed  func(*realCloud) *backendtest.Bed
	}{{"nova", (*realCloud).bed}, {"ironic", (*realCloud).metal}} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "ironic" && readReal(t).Metal == nil {
				backendtest.Run(t, backendtest.World{Name: "openstack/ironic", Skip: noMetal(t)})
				return
			}
			p, said := newFaultProxy(t), &words{}
			w := openReal(t)
			w.params.HTTP, w.params.Log = p.transport(t, 10*time.Second), said.add
			b := c.bed(w)
			for i, every := range []int{7, 11} {
				p.weather(t, &novaBed{Bed: b}, said, fmt.Sprint("f", i), 3, every, faults...)
			}
			p.quiet(t, b, said)
			t.Logf("what happened: %v", p.done)
		})
	}
}

// weather makes a fleet and removes it while every so manieth request meets a fault.
func (p *faultProxy) weather(t *testing.T, b *novaBed, said *words, fleet string, machines, every int, faults ...fault) {
	t.Helper()
	notes := &notes{open: map[string]string{}}
	r := b.request(fleet, machines, b.Spec, backends.AnyHosts)
	r.Ledger = notes
	p.set(every, faults...)
	var ms []backends.Machine
	said.until(t, "provision "+fleet, func() (err error) {
		ms, err = b.Backend.Provision(t.Context(), r)
		return err
	})
	p.set(0)
	again, err := b.Backend.Provision(t.Context(), r)
	if err != nil || len(again) != machines {
		t.Fatalf("%s: afterwards: got %d machines, %v", fleet, len(again), err)
	}
	for i := range ms {
		if ms[i].ID != again[i].ID {
			t.Errorf("%s: got %s; then %s", fleet, ms[i].ID, again[i].ID)
		}
	}
	if there := b.count(t, fleet); there != machines {
		t.Errorf("%s: the cloud has %d machines; want %d", fleet, there, machines)
	}
	p.set(every, faults...)
	tries := 0
	said.until(t, "release "+fleet, func() error {
		tries++
		return b.Backend.Release(t.Context(), r.Owner, notes)
	})
	p.set(0)
	if there := b.count(t, fleet); there != 0 {
		t.Errorf("%s: the cloud has %d machines after the release", fleet, there)
	}
	// A release that fails may have removed things without a word; the next finds nothing to speak of.
	if left := notes.made(); left != "" && tries == 1 {
		t.Errorf("%s: the ledger holds %s", fleet, left)
	}
	if len(faults) == 1 && p.done[faults[0].name] == 0 {
		t.Errorf("%s: %q never happened", fleet, faults[0].name)
	}
}

// quiet ends a run without faults: nothing is left, and no secret was said.
func (p *faultProxy) quiet(t *testing.T, b *backendtest.Bed, said *words) {
	t.Helper()
	if err := b.Backend.Release(t.Context(), backends.Owner{Run: novaRun}, forgetful{}); err != nil {
		t.Error(err)
	}
	if left := b.Left(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	secrets := append([]string{}, b.Secrets...)
	for token := range p.tokens {
		secrets = append(secrets, token)
	}
	said.without(t, secrets...)
}

// count gives the machines of a fleet.
func (b *novaBed) count(t *testing.T, fleet string) int {
	t.Helper()
	list, err := b.Backend.Owned(t.Context(), backends.Owner{Run: novaRun, Fleet: fleet})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, o := range list {
		if o.Kind == "server" || o.Kind == "allocation" {
			n++
		}
	}
	return n
}

// words are what dlx says in a run: its log and its errors.
type words struct {
	mu  sync.Mutex
	all []string
}

func (w *words) add(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, fmt.Sprintf(format, args...))
}

// attempts is how often something is tried that fails for a while, as the executor would.
const attempts = 30

func (w *words) until(t *testing.T, what string, f func() error) {
	t.Helper()
	for i := range attempts {
		err := f()
		if err == nil {
			return
		}
		w.add("%v %+v %#v", err, err, err)
		if !backends.ClassOf(err).Temporary() {
			t.Fatalf("%s: got %v (%s); want a temporary error", what, err, backends.ClassOf(err))
		}
		if i == attempts-1 {
			t.Fatalf("%s: after %d attempts: %v", what, attempts, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// without demands that none of some secrets was said.
func (w *words) without(t *testing.T, secrets ...string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range secrets {
		for _, x := range w.all {
			if s != "" && strings.Contains(x, s) {
				t.Errorf("a secret of %d characters stands in %s", len(s), strings.ReplaceAll(x, s, "***"))
			}
		}
	}
}

// notes is a ledger that tells what was made and is not gone.
type notes struct {
	mu   sync.Mutex
	open map[string]string
}

func (n *notes) note(o backends.Object, what string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open[o.Kind+" "+o.Name] = what
	return nil
}

func (n *notes) Intend(_ context.Context, _ backends.Owner, o backends.Object) error {
	return n.note(o, "intended")
}
func (n *notes) Made(_ context.Context, _ backends.Owner, o backends.Object) error {
	return n.note(o, "made")
}
func (n *notes) Gone(_ context.Context, _ backends.Owner, o backends.Object) error {
	return n.note(o, "gone")
}

// made lists it, but for the keypair, which belongs to the run as a whole.
func (n *notes) made() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []string
	for name, what := range n.open {
		if what == "made" && !strings.HasPrefix(name, "keypair ") {
			out = append(out, name)
		}
	}
	return strings.Join(out, ", ")
}
