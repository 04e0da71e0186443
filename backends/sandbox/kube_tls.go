package sandbox

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log"
	"math/big"
	"net"
	"strings"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	api "k8s.io/client-go/tools/clientcmd/api"
)

// certificateLife is how long certificates are good: kubeadm's for certificate authorities.
const certificateLife = 10 * 365 * 24 * time.Hour

// masters is the group that may do everything.
const masters = "system:masters"

// newCA makes a certificate authority.
func newCA(name string) (certPEM, keyPEM string, err error) {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	t := &x509.Certificate{SerialNumber: serial(), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(certificateLife),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, BasicConstraintsValid: true, IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &priv.PublicKey, priv)
	if err != nil {
		return "", "", err
	}
	k, err := keyText(priv)
	return text("CERTIFICATE", der), k, err
}

func serial() *big.Int { return new(big.Int).SetBytes(randomBytes(16)) }

func text(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func keyText(priv *ecdsa.PrivateKey) (string, error) {
	der, err := x509.MarshalECPrivateKey(priv)
	return text("EC PRIVATE KEY", der), err
}

func (k *kube) readCA() error {
	pair, err := tls.X509KeyPair([]byte(k.c.CA), []byte(k.c.CAKey))
	if err != nil {
		return fmt.Errorf("certificate authority: %w", err)
	}
	if k.caCert, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
		return fmt.Errorf("certificate authority: %w", err)
	}
	k.caKey = pair.PrivateKey
	k.pool = x509.NewCertPool()
	k.pool.AddCert(k.caCert)
	return nil
}

func (k *kube) sign(t *x509.Certificate, public any) ([]byte, error) {
	t.SerialNumber, t.NotBefore, t.NotAfter = serial(), time.Now().Add(-time.Hour), k.caCert.NotAfter
	t.KeyUsage, t.BasicConstraintsValid = x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment, true
	return x509.CreateCertificate(rand.Reader, t, k.caCert, public, k.caKey)
}

func (k *kube) serverCertificate(address string) (tls.Certificate, error) {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	t := &x509.Certificate{Subject: pkix.Name{CommonName: "kube-apiserver"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"}}
	if ip := net.ParseIP(address); ip != nil {
		t.IPAddresses = []net.IP{ip, net.IPv4(127, 0, 0, 1)}
	} else {
		t.DNSNames = append(t.DNSNames, address)
	}
	der, err := k.sign(t, &priv.PublicKey)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: priv}, err
}

// signRequest signs a certificate request for a client of the API.
func (k *kube) signRequest(csr string) (string, error) {
	b, _ := pem.Decode([]byte(csr))
	if b == nil || !strings.HasSuffix(b.Type, "CERTIFICATE REQUEST") {
		return "", errors.New("no PEM certificate request")
	}
	q, err := x509.ParseCertificateRequest(b.Bytes)
	if err != nil {
		return "", err
	}
	if err := q.CheckSignature(); err != nil {
		return "", err
	}
	der, err := k.sign(&x509.Certificate{Subject: q.Subject, DNSNames: q.DNSNames, IPAddresses: q.IPAddresses,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, q.PublicKey)
	return text("CERTIFICATE", der), err
}

// kubeconfig makes credentials for a user and writes them as a kubeconfig, inline.
func (k *kube) kubeconfig(user string, groups ...string) ([]byte, error) {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := k.sign(&x509.Certificate{Subject: pkix.Name{CommonName: user, Organization: groups}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, &priv.PublicKey)
	if err != nil {
		return nil, err
	}
	keyPEM, err := keyText(priv)
	if err != nil {
		return nil, err
	}
	c := api.NewConfig()
	c.Clusters[k.c.Name] = &api.Cluster{Server: k.base, CertificateAuthorityData: []byte(k.c.CA)}
	c.AuthInfos[user] = &api.AuthInfo{ClientCertificateData: []byte(text("CERTIFICATE", der)), ClientKeyData: []byte(keyPEM)}
	c.Contexts["default"] = &api.Context{Cluster: k.c.Name, AuthInfo: user}
	c.CurrentContext = "default"
	return clientcmd.Write(*c)
}

// identity is who a request comes from; "" for nobody that the cluster knows.
func (k *kube) identity(st *tls.ConnectionState) (user string, groups []string) {
	if st == nil || len(st.PeerCertificates) == 0 {
		return "", nil
	}
	cert := st.PeerCertificates[0]
	if _, err := cert.Verify(x509.VerifyOptions{Roots: k.pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, CurrentTime: time.Now()}); err != nil {
		return "", nil
	}
	return cert.Subject.CommonName, cert.Subject.Organization
}

// quietLog sends what an HTTP server has to say (a client that hung up) to the sandbox's log.
func quietLog(f func(string, ...any)) *log.Logger { return log.New(logWriter(f), "", 0) }

type logWriter func(string, ...any)

func (w logWriter) Write(p []byte) (int, error) {
	w("sandbox: kubernetes: %s", strings.TrimSpace(string(p)))
	return len(p), nil
}
