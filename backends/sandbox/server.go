package sandbox

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Server is a running sandbox.
type Server struct {
	cfg  Config
	http *http.Server
	mux  *http.ServeMux
	lock *os.File
	base string  // URL of the API listener
	keys *Server // the one whose Keystone counts

	// Password and application credential that Keystone accepts.
	password, appID, appSecret string

	mu       sync.Mutex
	st       *state
	nodes    []*node // all nodes, in order
	machines map[string]*machine
	kubes    map[string]*kube        // by ID of the cluster
	floats   map[string]net.Listener // by ID of the floating IP
	timers   map[string]*time.Timer
	tokens   map[string]time.Time // until when
	regions  []*Server            // that have their Keystone here, this one first
	closed   bool
	work     sync.WaitGroup

	ends  *waiter             // of containers
	boxes func() (why string) // what keeps pods from namespaces of their own; ""; nothing
}

// Start starts a sandbox, or brings back the one whose state is in the folder.
func Start(_ context.Context, cfg Config) (*Server, error) {
	cfg.fill()
	if cfg.State == "" {
		return nil, errors.New("sandbox: no state folder")
	}
	state, err := filepath.Abs(cfg.State)
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	cfg.State = state
	if err := os.MkdirAll(cfg.State, 0o700); err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	lock, err := lockFolder(cfg.State)
	if err != nil {
		return nil, fmt.Errorf("sandbox: %s: %w", cfg.State, err)
	}
	s := &Server{
		cfg: cfg, lock: lock, mux: http.NewServeMux(),
		machines: map[string]*machine{}, kubes: map[string]*kube{}, floats: map[string]net.Listener{}, timers: map[string]*time.Timer{}, tokens: map[string]time.Time{},
	}
	s.keys = s
	if cfg.Keystone != nil {
		s.keys = cfg.Keystone
	}
	if err := s.start(); err != nil { //nolint:contextcheck // what is forwarded over SSH lasts as long as its connection
		_ = s.Close()
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	return s, nil
}

func (s *Server) start() error {
	var err error
	if s.st, err = loadState(s.cfg.State); err != nil {
		return err
	}
	l, err := s.openAPI()
	if err != nil {
		return err
	}
	s.base = "http://" + l.Addr().String()
	s.bearNodes()
	s.prepareKubes()
	if err := s.resume(); err != nil {
		_ = l.Close()
		return err
	}
	s.keystone()
	s.nova()
	s.keypairs()
	s.servergroups()
	s.quotaSets()
	s.glance()
	s.neutron()
	s.ironic()
	s.magnum()
	s.keys.mu.Lock()
	s.keys.regions = append(s.keys.regions, s)
	s.keys.mu.Unlock()
	s.http = &http.Server{Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: time.Minute}
	s.work.Go(func() { _ = s.http.Serve(l) })
	return nil
}

// openAPI opens the listener of the APIs and chooses the credentials: those of before, where they
// are kept and the address is free still.
func (s *Server) openAPI() (net.Listener, error) {
	if s.st.empty() {
		s.st.API = nil
	}
	api, l := s.st.API, s.cfg.Listener
	var err error
	if l == nil && api != nil {
		l, _ = s.cfg.Listen(api.Address)
	}
	if l == nil {
		if l, err = s.cfg.Listen("127.0.0.1:0"); err != nil {
			return nil, err
		}
	}
	if api == nil {
		api = &endpoint{Password: rand.Text(), AppID: randomID(), AppSecret: rand.Text()}
	}
	s.password, s.appID, s.appSecret = api.Password, api.AppID, api.AppSecret
	if api.Address = l.Addr().String(); s.cfg.Keep {
		s.st.API = api
	}
	return l, nil
}

// resume brings back what the state says: machines that were up, and changes that were going on.
func (s *Server) resume() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.st.empty() {
		s.st.Port = 0
	}
	for _, v := range s.st.Servers {
		switch {
		case v.Task == "deleting":
			s.later("delete "+v.ID, 0, func() { s.vanish(v.ID) })
		case v.Status == "ACTIVE":
			if err := s.open(v.ID, v.Name, v.Address, v.PublicKey, v.UserData, v.CPUs); err != nil {
				return err
			}
		case v.Status == "BUILD":
			s.later("boot "+v.ID, time.Until(v.Ready), func() { s.boot(v.ID) })
		}
	}
	for _, o := range s.netObjects("floatingips") {
		if err := s.listenFloating(o); err != nil {
			return err
		}
	}
	if err := s.resumeNodes(); err != nil {
		return err
	}
	return s.resumeClusters()
}

// Close stops serving. Machines keep their processes; a later Start finds them again.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	for _, t := range s.timers {
		t.Stop()
	}
	machines, kubes := s.machines, s.kubes
	s.machines, s.kubes = nil, nil
	for _, l := range s.floats {
		_ = l.Close()
	}
	s.mu.Unlock()
	s.keys.mu.Lock()
	s.keys.regions = slices.DeleteFunc(s.keys.regions, func(r *Server) bool { return r == s })
	s.keys.mu.Unlock()
	s.closeKubes(kubes)
	for _, m := range machines {
		m.close()
	}
	var err error
	if s.http != nil {
		err = s.http.Close()
	}
	s.work.Wait()
	unlockFolder(s.lock)
	return err
}

// later runs f after a time, unless the sandbox is closed before. The caller holds s.mu.
func (s *Server) later(name string, d time.Duration, f func()) {
	s.timers[name] = time.AfterFunc(d, func() {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return
		}
		delete(s.timers, name)
		s.work.Add(1)
		s.mu.Unlock()
		defer s.work.Done()
		f()
	})
}

// URL is where Keystone is: the auth_url of a clouds.yaml.
func (s *Server) URL() string { return s.keys.base + "/identity/v3" }

// Credentials are what Keystone accepts: a user name and password in the project "sandbox" of
// the domain "default", or an application credential. They are new at each Start, but for Config.Keep.
func (s *Server) Credentials() (user, password, appID, appSecret string) {
	return User, s.keys.password, s.keys.appID, s.keys.appSecret
}

// Port is the SSH port of all machines of this sandbox.
func (s *Server) Port() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.st.Port == 0 {
		s.st.Port = s.choosePort()
	}
	return s.st.Port
}

// choosePort finds a port that nobody has. 20000 to 29999 is below the range that systems give
// to outgoing connections (32768 and up on Linux).
func (s *Server) choosePort() int {
	if s.cfg.Port != 0 {
		return s.cfg.Port
	}
	for range 100 { // 100 taken ports in a row mean that no port is the trouble: the first machine will say which
		port := 20000 + int(binary.BigEndian.Uint16(randomBytes(2)))%10000
		l, err := s.cfg.Listen(net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			_ = l.Close()
			return port
		}
	}
	return 20022
}

// serve is the way of every request: latency, faults, then the service.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.cfg.Log("sandbox: %s %s", r.Method, r.URL)
	time.Sleep(s.cfg.Latency)
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	f := s.cfg.Faults.request(r.Method, below(r.URL.Path))
	if f != nil && f.delay > 0 {
		time.Sleep(f.delay)
	} else if f != nil {
		if f.hangup {
			s.mux.ServeHTTP(&discard{header: http.Header{}}, r)
			panic(http.ErrAbortHandler)
		}
		for k, v := range f.header {
			w.Header()[k] = v
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(f.status)
		_, _ = w.Write([]byte(f.body))
		return
	}
	if _, pattern := s.mux.Handler(r); pattern == "" {
		unserved(w, r)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// unserved refuses what no service serves, in the form of the service, so that its client shows the text.
func unserved(w http.ResponseWriter, r *http.Request) {
	const code = http.StatusNotImplemented
	text := fmt.Sprintf("the sandbox does not serve %s %s", r.Method, r.URL.Path)
	switch service, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); service {
	case "compute":
		novaError(w, code, text)
	case "baremetal":
		ironicError(w, code, text)
	case "container-infra":
		magnumError(w, code, "%s", text)
	case "network":
		reply(w, code, map[string]any{"NeutronError": map[string]any{"type": "NotImplemented", "message": text, "detail": ""}})
	default:
		keystoneError(w, code, "Not Implemented", text)
	}
}

// root serves what a service says of itself, with and without a slash at the end of its address.
func (s *Server) root(path string, h http.HandlerFunc) {
	s.mux.HandleFunc("GET "+path, h)
	s.mux.HandleFunc("GET "+path+"/{$}", h)
}

// below cuts service and version off a path: /compute/v2.1/servers becomes /servers.
func below(p string) string {
	parts := strings.SplitN(strings.TrimPrefix(p, "/"), "/", 3)
	if len(parts) < 3 {
		return "/"
	}
	return "/" + parts[2]
}

// discard is the answer of a request whose client will hear nothing.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if body != nil {
		_ = json.NewEncoder(w).Encode(body)
	}
}

// read decodes a request's body; what is no JSON is answered by the service's refusal.
func read(r *http.Request, into any) error {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		return fmt.Errorf("malformed request body: %w", err)
	}
	return nil
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// randomID makes a UUID of version 4.
func randomID() string {
	b := randomBytes(16)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
