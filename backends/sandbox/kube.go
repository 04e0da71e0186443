package sandbox

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

var zeroGVK = schema.GroupVersionKind{}

// clustersFolder holds one folder for each Kubernetes cluster: the journal of its objects.
const clustersFolder = "clusters"

// kube is a running Kubernetes cluster: an API server, the controllers behind it, and a kubelet
// for each of its nodes. One goroutine (loop) does what controllers do, for all kinds, after
// every change; one more a pod does what its kubelet does.
type kube struct {
	s    *Server
	c    *cluster
	base string // URL

	http     *http.Server
	listener *cutListener
	pool     *x509.CertPool
	caKey    any
	caCert   *x509.Certificate

	mu      sync.Mutex
	st      *store
	hosts   []*host
	pods    map[types.UID]*pod
	retries map[types.UID]retry // by job: when a pod may be made again
	closed  bool

	wake chan struct{} // something changed: there is work for loop
	done chan struct{} // closed by close
	work sync.WaitGroup
}

// openKube brings up the API server of a cluster, with what its journal holds. Nodes are the
// hosts. The caller holds s.mu.
func (s *Server) openKube(c *cluster, hosts []*host) (*kube, error) {
	k := &kube{s: s, c: c, hosts: hosts, pods: map[types.UID]*pod{}, retries: map[types.UID]retry{}, wake: make(chan struct{}, 1), done: make(chan struct{})}
	var err error
	if err = k.readCA(); err != nil {
		return nil, fmt.Errorf("cluster %s: %w", c.Name, err)
	}
	if k.st, err = openStore(k.journal(), s.cfg.Log); err != nil {
		return nil, fmt.Errorf("cluster %s: %w", c.Name, err)
	}
	k.st.wake = k.nudge
	l, err := k.listen()
	if err != nil {
		k.st.close()
		return nil, fmt.Errorf("cluster %s: %w", c.Name, err)
	}
	cert, err := k.serverCertificate(c.Address)
	if err != nil {
		_ = l.Close()
		k.st.close()
		return nil, fmt.Errorf("cluster %s: %w", c.Name, err)
	}
	k.listener = &cutListener{Listener: l, conns: map[net.Conn]bool{}}
	k.base = "https://" + net.JoinHostPort(c.Address, strconv.Itoa(c.Port))
	k.http = &http.Server{Handler: http.HandlerFunc(k.serve), ReadHeaderTimeout: time.Minute, ErrorLog: quietLog(s.cfg.Log),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12,
			ClientAuth: tls.RequestClientCert, ClientCAs: k.pool}} // checked with each request: who is unknown gets a 401
	k.bear()
	k.work.Go(func() { _ = k.http.ServeTLS(k.listener, "", "") })
	k.work.Go(func() {
		k.sweep()
		k.loop()
	})
	k.nudge()
	return k, nil
}

func (k *kube) journal() string {
	return filepath.Join(k.s.cfg.State, clustersFolder, k.c.ID, "journal.jsonl")
}

// apiPort is where API servers listen, at addresses of their own.
const apiPort = 6443

// listen opens the cluster's address: the one it had, or a free one of 127.79.0.0/16.
func (k *kube) listen() (net.Listener, error) {
	at := func() (net.Listener, error) {
		return k.s.cfg.Listen(net.JoinHostPort(k.c.Address, strconv.Itoa(k.c.Port)))
	}
	if k.c.Address != "" {
		return at()
	}
	k.c.Port = apiPort
	for range 20 {
		b := randomBytes(2)
		k.c.Address = fmt.Sprintf("127.79.%d.%d", b[0], 1+int(b[1])%254)
		if l, err := at(); err == nil || !inUse(err) {
			return l, err
		}
	}
	return at()
}

// close stops serving. Containers stay; a later openKube finds them again.
func (k *kube) close() {
	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		return
	}
	k.closed = true
	close(k.done)
	k.mu.Unlock()
	_ = k.http.Close()
	k.listener.cut()
	k.work.Wait()
	k.mu.Lock()
	k.st.close()
	k.mu.Unlock()
}

// destroy closes the cluster, ends its pods and removes its folder.
func (k *kube) destroy() {
	k.close()
	for _, p := range k.pods {
		p.purge()
	}
	_ = os.RemoveAll(filepath.Dir(k.journal()))
}

func (k *kube) nudge() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// sweep ends what is left of pods that were gone from the API when the program died.
func (k *kube) sweep() {
	for _, h := range k.hosts {
		dir := filepath.Join(k.s.home(h.Server), podsFolder)
		list, _ := os.ReadDir(dir)
		for _, e := range list {
			k.mu.Lock()
			known := k.st.byUID[types.UID(e.Name())] != nil
			k.mu.Unlock()
			if !known {
				p := &pod{k: k, dir: filepath.Join(dir, e.Name())}
				p.purge()
			}
		}
	}
}

// loop is all controllers. Each pass looks at everything: there is little, and what was missed
// once is seen by the next.
func (k *kube) loop() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-k.done:
			return
		case <-k.wake:
		case <-timer.C:
		}
		if d := k.s.cfg.Kube.Batch; d > 0 {
			time.Sleep(d)
		}
		timer.Reset(k.pass())
	}
}

// pass does what there is to do now, and says how soon there will be more.
func (k *kube) pass() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return time.Hour
	}
	next := agenda{now: time.Now(), in: time.Hour}
	k.passNodes(&next)
	k.passNamespaces()
	k.passGarbage()
	k.passClaims()
	k.passJobs(&next)
	k.passSchedule()
	k.passQuotas()
	k.passKubelets()
	k.passHosts()
	return next.in
}

// agenda collects when the next pass is due.
type agenda struct {
	now time.Time
	in  time.Duration
}

func (a *agenda) at(t time.Time) { a.in = min(a.in, max(t.Sub(a.now), time.Millisecond)) }

// sleep waits, unless the cluster is closed first.
func (k *kube) sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	case <-k.done:
		return false
	}
}

// cutListener knows its connections, so that they can be cut.
type cutListener struct {
	net.Listener
	mu    sync.Mutex
	conns map[net.Conn]bool
}

type cutConn struct {
	net.Conn
	l *cutListener
}

func (l *cutListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	cc := &cutConn{Conn: c, l: l}
	l.mu.Lock()
	l.conns[cc] = true
	l.mu.Unlock()
	return cc, nil
}

func (c *cutConn) Close() error {
	c.l.mu.Lock()
	delete(c.l.conns, c)
	c.l.mu.Unlock()
	return c.Conn.Close()
}

// cut breaks all connections, those of watches and exec included.
func (l *cutListener) cut() {
	l.mu.Lock()
	conns := l.conns
	l.conns = map[net.Conn]bool{}
	l.mu.Unlock()
	for c := range conns {
		cc, _ := c.(*cutConn)
		_ = cc.Conn.Close()
	}
}

var errClosed = errors.New("the cluster is closed")
