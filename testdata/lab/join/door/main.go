// Door is the API address of a cluster of Magnum that has none of its own: it serves the API server of the
// Kubernetes lab with a certificate of the cluster's authority, to clients that hold one.
//
// The name and organisations in a client's certificate become the Kubernetes user and groups, by impersonation.
// What would go with the cluster goes with the door: on SIGTERM it deletes what was made through it, and namespaces that
// are empty then. Doors to one API server may share a namespace, as clusters of one run do.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	log.SetFlags(log.LstdFlags)
	dir := flag.String("dir", "", "folder with ca.crt, door.crt and door.key of the cluster; the file address is written to it")
	pki := flag.String("pki", "", "folder with ca.crt, admin.crt and admin.key of the API server")
	server := flag.String("server", "", "URL of the API server")
	at := flag.String("listen", "127.0.0.1:0", "where to serve")
	flag.Parse()
	if err := serve(*dir, *pki, *server, *at); err != nil {
		log.Fatal(err)
	}
}

func serve(dir, pki, server, at string) error {
	target, err := url.Parse(server)
	if err != nil {
		return err
	}
	inside, err := login(filepath.Join(pki, "ca.crt"), filepath.Join(pki, "admin.crt"), filepath.Join(pki, "admin.key"))
	if err != nil {
		return err
	}
	outside, err := login(filepath.Join(dir, "ca.crt"), filepath.Join(dir, "door.crt"), filepath.Join(dir, "door.key"))
	if err != nil {
		return err
	}
	d := &door{target: target, api: &http.Transport{TLSClientConfig: inside, MaxIdleConnsPerHost: 64}}
	l, err := net.Listen("tcp", at)
	if err != nil {
		return err
	}
	s := &http.Server{ReadHeaderTimeout: time.Minute, TLSConfig: &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: outside.Certificates, ClientCAs: outside.RootCAs, ClientAuth: tls.RequireAndVerifyClientCert,
	}, Handler: &httputil.ReverseProxy{FlushInterval: -1, Transport: d.api, Rewrite: d.rewrite, ModifyResponse: d.note}}
	name := filepath.Join(dir, "address")
	if err := errors.Join(os.WriteFile(name+".new", []byte("https://"+l.Addr().String()), 0o600), os.Rename(name+".new", name)); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() {
		<-ctx.Done()
		_ = s.Close()
	}()
	if err := s.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return d.clear()
}

// login reads an authority and a certificate with its key.
func login(ca, cert, key string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: no certificate in it", ca)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, RootCAs: pool}, nil
}

type door struct {
	target *url.URL
	api    *http.Transport

	mu   sync.Mutex
	made []string // paths of objects
}

func (d *door) rewrite(r *httputil.ProxyRequest) {
	r.SetURL(d.target)
	for h := range r.Out.Header {
		if strings.HasPrefix(h, "Impersonate-") || h == "Authorization" {
			delete(r.Out.Header, h)
		}
	}
	who := r.In.TLS.PeerCertificates[0].Subject
	r.Out.Header.Set("Impersonate-User", who.CommonName)
	for _, o := range append(who.Organization, "system:authenticated") {
		r.Out.Header.Add("Impersonate-Group", o)
	}
}

// note remembers what is made.
func (d *door) note(resp *http.Response) error {
	if resp.StatusCode != http.StatusCreated {
		return nil
	}
	var made struct {
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if json.Unmarshal(body, &made) != nil || made.Metadata.Name == "" {
		return nil
	}
	path := resp.Request.URL.Path // of the collection, or, where it was applied, of the object
	if resp.Request.Method == http.MethodPost {
		path += "/" + made.Metadata.Name
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.made = append(d.made, path)
	return nil
}

const namespaces = "/api/v1/namespaces/"

// clear deletes what was made, the last first, and waits until it is gone.
func (d *door) clear() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	used := map[string]bool{}
	for _, path := range slices.Backward(d.made) {
		if name, rest, _ := strings.Cut(strings.TrimPrefix(path, namespaces), "/"); strings.HasPrefix(path, namespaces) && rest == "" {
			used[name] = true
		} else {
			if strings.HasPrefix(path, namespaces) {
				used[name] = true
			}
			errs = append(errs, d.remove(path))
		}
	}
	for name := range used {
		if empty, err := d.empty(name); err != nil {
			errs = append(errs, err)
		} else if empty {
			errs = append(errs, d.remove(namespaces+name))
		}
	}
	return errors.Join(errs...)
}

// empty reports whether nobody has anything in a namespace but what every one has.
func (d *door) empty(name string) (bool, error) {
	for _, kind := range []string{"/pods", "/configmaps"} {
		var list struct {
			Items []struct {
				Metadata struct {
					Name string `json:"name"`
				} `json:"metadata"`
			} `json:"items"`
		}
		status, body, err := d.ask(http.MethodGet, namespaces+name+kind)
		if err != nil || status != http.StatusOK {
			return false, fmt.Errorf("list %s of %s: %d %w", kind, name, status, err)
		}
		if err := json.Unmarshal(body, &list); err != nil {
			return false, err
		}
		for _, i := range list.Items {
			if i.Metadata.Name != "kube-root-ca.crt" {
				return false, nil
			}
		}
	}
	return true, nil
}

// remove deletes an object with all that belongs to it, and sees it gone.
func (d *door) remove(path string) error {
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		status, _, err := d.ask(http.MethodDelete, path+"?propagationPolicy=Foreground")
		if err == nil && status == http.StatusNotFound {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("delete %s: %d %w", path, status, err)
		}
	}
}

func (d *door) ask(method, path string) (int, []byte, error) {
	at, err := d.target.Parse(path)
	if err != nil {
		return 0, nil, err
	}
	r, err := http.NewRequest(method, at.String(), http.NoBody)
	if err != nil {
		return 0, nil, err
	}
	resp, err := (&http.Client{Transport: d.api, Timeout: time.Minute}).Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}
