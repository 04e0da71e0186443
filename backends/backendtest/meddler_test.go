package backendtest_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"golang.org/x/crypto/ssh"
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

// doors stand where fake servers would listen for SSH. Each has the keys that the server's user
// data gave it, as Nova tells an administrator.
type doors struct {
	t       *testing.T
	compute *gophercloud.ServiceClient
}

func (d *doors) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	cfg, err := d.keys(ctx, addr)
	if err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		defer l.Close()
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, channels, requests, err := ssh.NewServerConn(c, cfg)
		if err != nil {
			return
		}
		go ssh.DiscardRequests(requests)
		for ch := range channels {
			_ = ch.Reject(ssh.Prohibited, "a fake server runs nothing")
		}
	}()
	return (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
}

// keys reads what cloud-init would of the server with an address.
func (d *doors) keys(ctx context.Context, addr string) (*ssh.ServerConfig, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	var found struct {
		Servers []struct {
			Data      string `json:"OS-EXT-SRV-ATTR:user_data"`
			Addresses map[string][]struct {
				Addr string `json:"addr"`
			} `json:"addresses"`
		} `json:"servers"`
	}
	at := d.compute.ServiceURL("servers", "detail") + "?" + url.Values{"all_tenants": {"1"}, "ip": {host}}.Encode()
	if _, err := d.compute.Get(ctx, at, &found, nil); err != nil {
		return nil, err
	}
	text := ""
	for _, s := range found.Servers { // the filter takes parts of addresses, and no expressions
		for _, network := range s.Addresses {
			for _, a := range network {
				if a.Addr == host {
					text = s.Data
				}
			}
		}
	}
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	var said struct {
		Keys       map[string]string `json:"ssh_keys"`
		Authorized []string          `json:"ssh_authorized_keys"`
	}
	if err := json.Unmarshal(bytes.TrimPrefix(data, []byte("#cloud-config\n")), &said); err != nil {
		return nil, err
	}
	proof, err := ssh.ParsePrivateKey([]byte(said.Keys["ed25519_private"]))
	if err != nil {
		return nil, err
	}
	cfg := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		for _, a := range said.Authorized {
			if k, _, _, _, err := ssh.ParseAuthorizedKey([]byte(a)); err == nil && bytes.Equal(k.Marshal(), key.Marshal()) {
				return &ssh.Permissions{}, nil
			}
		}
		return nil, errors.New("another key")
	}}
	cfg.AddHostKey(proof)
	return cfg, nil
}
