package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// pki writes a certificate authority, the certificates of the daemons, the key that signs the
// tokens of service accounts, and a kubeconfig for each client. A folder that has them is left
// alone.
func pki() error {
	fs := flag.NewFlagSet("pki", flag.ExitOnError)
	dir := fs.String("dir", "pki", "where to write")
	server := fs.String("server", "", "URL of the API server")
	nodes := fs.String("nodes", "", "names of the nodes, with commas between them")
	ips := fs.String("ips", "", "addresses of API server and nodes, with commas between them")
	if err := fs.Parse(os.Args[1:]); err != nil {
		return err
	}
	p := &folder{dir: *dir}
	const last = "admin.kubeconfig"
	if _, err := os.Stat(filepath.Join(*dir, last)); err == nil {
		return nil
	}
	if err := os.MkdirAll(*dir, 0o700); err != nil {
		return err
	}
	if err := p.authority(); err != nil {
		return err
	}
	addrs := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 96, 0, 1)} // the second is Service "kubernetes"
	for _, s := range strings.Split(*ips, ",") {
		ip := net.ParseIP(s)
		if ip == nil {
			return fmt.Errorf("-ips: %q is no address", s)
		}
		addrs = append(addrs, ip)
	}
	names := strings.Split(*nodes, ",")
	for name, hosts := range map[string][]string{
		"apiserver": {"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
		"kubelet":   append([]string{"localhost"}, names...),
	} {
		if err := p.issue(name, &x509.Certificate{
			Subject: pkix.Name{CommonName: name}, DNSNames: hosts, IPAddresses: addrs,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}); err != nil {
			return err
		}
	}
	type client struct{ file, user, group string }
	clients := []client{
		{"controller-manager", "system:kube-controller-manager", ""},
		{"scheduler", "system:kube-scheduler", ""},
		{"apiserver-to-kubelet", "kube-apiserver-kubelet-client", "system:masters"},
	}
	for _, n := range names {
		clients = append(clients, client{n, "system:node:" + n, "system:nodes"})
	}
	for _, c := range append(clients, client{strings.TrimSuffix(last, ".kubeconfig"), "admin", "system:masters"}) {
		t := &x509.Certificate{Subject: pkix.Name{CommonName: c.user}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
		if c.group != "" {
			t.Subject.Organization = []string{c.group}
		}
		if err := p.issue(c.file, t); err != nil {
			return err
		}
		if err := p.kubeconfig(c.file, *server); err != nil {
			return err
		}
	}
	return nil
}

type folder struct {
	dir string
	ca  *x509.Certificate
	key *ecdsa.PrivateKey
}

func (p *folder) put(name, kind string, der []byte) error {
	return os.WriteFile(filepath.Join(p.dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// authority makes the certificate authority, and the keys of the tokens of service accounts.
func (p *folder) authority() error {
	sa, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	private, err := x509.MarshalECPrivateKey(sa)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&sa.PublicKey)
	if err != nil {
		return err
	}
	if err := p.put("sa.key", "EC PRIVATE KEY", private); err != nil {
		return err
	}
	if err := p.put("sa.pub", "PUBLIC KEY", public); err != nil {
		return err
	}
	return p.issue("ca", &x509.Certificate{
		Subject: pkix.Name{CommonName: "lab"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
}

// issue writes name.crt and name.key. The first certificate signs itself and all others.
func (p *folder) issue(name string, t *x509.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if t.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return err
	}
	t.KeyUsage |= x509.KeyUsageDigitalSignature
	t.NotBefore = time.Now().Add(-time.Hour)
	t.NotAfter = t.NotBefore.AddDate(10, 0, 0)
	if p.ca == nil {
		p.ca, p.key = t, key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, p.ca, &key.PublicKey, p.key)
	if err != nil {
		return err
	}
	if t == p.ca { // as read, it has the key identifier that others name
		if p.ca, err = x509.ParseCertificate(der); err != nil {
			return err
		}
	}
	if err := p.put(name+".crt", "CERTIFICATE", der); err != nil {
		return err
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return p.put(name+".key", "EC PRIVATE KEY", private)
}

func (p *folder) kubeconfig(name, server string) error {
	var files []any
	for _, f := range []string{"ca.crt", name + ".crt", name + ".key"} {
		b, err := os.ReadFile(filepath.Join(p.dir, f))
		if err != nil {
			return err
		}
		files = append(files, base64.StdEncoding.EncodeToString(b))
	}
	return os.WriteFile(filepath.Join(p.dir, name+".kubeconfig"), fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: lab
  cluster:
    server: %s
    certificate-authority-data: %s
users:
- name: lab
  user:
    client-certificate-data: %s
    client-key-data: %s
contexts:
- name: lab
  context: {cluster: lab, user: lab}
current-context: lab
`, append([]any{server}, files...)...), 0o600)
}
