package sandbox_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/containerinfra/v1/certificates"
	"github.com/gophercloud/gophercloud/v2/openstack/containerinfra/v1/clusters"
	"github.com/gophercloud/gophercloud/v2/openstack/containerinfra/v1/clustertemplates"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"dlx.dev/dlx/backends/pipenet"
	"dlx.dev/dlx/backends/sandbox"
)

// infra is a client of Magnum as gophercloud makes it.
func infra(t *testing.T, s *sandbox.Server, n *pipenet.Network) *gophercloud.ServiceClient {
	t.Helper()
	user, password, _, _ := s.Credentials()
	p, err := openstack.NewClient(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{DialContext: n.DialContext}
	t.Cleanup(tr.CloseIdleConnections)
	p.HTTPClient = http.Client{Transport: tr}
	o := gophercloud.AuthOptions{IdentityEndpoint: s.URL(), Username: user, Password: password, DomainID: "default", TenantName: "sandbox"}
	if err := openstack.Authenticate(t.Context(), p, o); err != nil {
		t.Fatal(err)
	}
	c, err := openstack.NewContainerInfraV1(p, gophercloud.EndpointOpts{Region: sandbox.Region})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func inCloud(t *testing.T, cfg sandbox.Config, f func(t *testing.T, s *sandbox.Server, c *gophercloud.ServiceClient, n *pipenet.Network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := &pipenet.Network{}
		l, err := n.Listen("api:80")
		if err != nil {
			t.Fatal(err)
		}
		cfg.Listener, cfg.Listen, cfg.Port, cfg.State = l, n.Listen, 22, t.TempDir()
		cfg.Kube.Pace = time.Second
		s, err := sandbox.Start(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		f(t, s, infra(t, s, n), n)
		if left := s.Processes(); len(left) > 0 {
			t.Errorf("processes are left: %v", left)
		}
	})
}

func state(t *testing.T, c *gophercloud.ServiceClient, id string) *clusters.Cluster {
	t.Helper()
	x, err := clusters.Get(t.Context(), c, id).Extract()
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestMagnum(t *testing.T) {
	inCloud(t, sandbox.Config{BuildTime: time.Minute, DeleteTime: time.Minute}, func(t *testing.T, s *sandbox.Server, c *gophercloud.ServiceClient, n *pipenet.Network) {
		ctx := t.Context()
		tmpl, err := clustertemplates.Get(ctx, c, "sandbox").Extract()
		if err != nil || tmpl.COE != "kubernetes" || tmpl.FlavorID != "sandbox.medium" {
			t.Fatalf("got %+v, %v", tmpl, err)
		}
		two := 2
		id, err := clusters.Create(ctx, c, clusters.CreateOpts{ClusterTemplateID: tmpl.UUID, Name: "k", NodeCount: &two}).Extract()
		if err != nil {
			t.Fatal(err)
		}
		if got := state(t, c, id); got.Status != "CREATE_IN_PROGRESS" || got.NodeCount != 2 {
			t.Errorf("got %+v", got)
		}
		_, err = clusters.Create(ctx, c, clusters.CreateOpts{ClusterTemplateID: tmpl.UUID, Name: "k"}).Extract()
		if !gophercloud.ResponseCodeIs(err, 409) || !strings.Contains(err.Error(), "A cluster with name k already exists.") {
			t.Errorf("got %v", err)
		}
		time.Sleep(2 * time.Minute)
		got := state(t, c, id)
		if got.Status != "CREATE_COMPLETE" || len(got.NodeAddresses) != 2 || len(got.MasterAddresses) != 1 || got.StackID == "" || got.APIAddress == "" {
			t.Fatalf("got %+v", got)
		}
		config := signed(t, c, got, n)
		w := &world{t: t, net: n, rest: config, s: s, closed: true}
		core := w.group(scheme(t), corev1.SchemeGroupVersion, "/api")
		l := &corev1.NodeList{}
		for len(l.Items) < 2 {
			if err := core.Get().Resource("nodes").Do(ctx).Into(l); err != nil {
				t.Fatal(err)
			}
		}
		if l.Items[0].Status.NodeInfo.MachineID == l.Items[1].Status.NodeInfo.MachineID || !strings.HasPrefix(l.Items[0].Name, "k-") {
			t.Errorf("got %+v", l.Items)
		}
		if err := core.Post().Namespace("default").Resource("pods").Body(sh("p", "sleep 1000")).Do(ctx).Error(); err != nil {
			t.Fatal(err)
		}
		if _, err := certificates.Create(ctx, c, certificates.CreateOpts{ClusterUUID: id, CSR: "no request"}).Extract(); !gophercloud.ResponseCodeIs(err, 400) {
			t.Errorf("got %v", err)
		}
		core.Client.CloseIdleConnections()
		if err := clusters.Delete(ctx, c, id).ExtractErr(); err != nil {
			t.Fatal(err)
		}
		if got := state(t, c, id); got.Status != "DELETE_IN_PROGRESS" {
			t.Errorf("got %+v", got)
		}
		time.Sleep(2 * time.Minute)
		if _, err := clusters.Get(ctx, c, id).Extract(); !gophercloud.ResponseCodeIs(err, 404) {
			t.Errorf("got %v", err)
		}
		for _, a := range n.Listening() {
			if a != "api:80" {
				t.Errorf("%s is still there", a)
			}
		}
	})
}

// signed logs in with a certificate that Magnum signs.
func signed(t *testing.T, c *gophercloud.ServiceClient, x *clusters.Cluster, n *pipenet.Network) *rest.Config {
	t.Helper()
	ca, err := certificates.Get(t.Context(), c, x.UUID).Extract()
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}}}, key)
	if err != nil {
		t.Fatal(err)
	}
	csr := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	cert, err := certificates.Create(t.Context(), c, certificates.CreateOpts{ClusterUUID: x.UUID, CSR: string(csr)}).Extract()
	if err != nil {
		t.Fatal(err)
	}
	der, err = x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &rest.Config{Host: x.APIAddress, QPS: -1,
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return n.DialContext(ctx, network, addr)
		},
		TLSClientConfig: rest.TLSClientConfig{CAData: []byte(ca.PEM), CertData: []byte(cert.PEM),
			KeyData: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})}}
}

func TestMagnumRefusals(t *testing.T) {
	f := &sandbox.Faults{}
	inCloud(t, sandbox.Config{BuildTime: time.Minute, Faults: f}, func(t *testing.T, _ *sandbox.Server, c *gophercloud.ServiceClient, _ *pipenet.Network) {
		ctx := t.Context()
		create := func(template, name string, count int) (string, error) {
			return clusters.Create(ctx, c, clusters.CreateOpts{ClusterTemplateID: template, Name: name, NodeCount: &count}).Extract()
		}
		if _, err := create("nosuch", "k", 1); !gophercloud.ResponseCodeIs(err, 404) || !strings.Contains(err.Error(), "ClusterTemplate nosuch could not be found.") {
			t.Errorf("got %v", err)
		}
		if _, err := create("sandbox", "-", 1); !gophercloud.ResponseCodeIs(err, 400) {
			t.Errorf("got %v", err)
		}
		metal, err := create("sandbox-metal", "metal", 2)
		if err != nil {
			t.Fatal(err)
		}
		full, err := create("sandbox", "full", 1)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		if got := state(t, c, metal); got.Status != "CREATE_COMPLETE" {
			t.Errorf("got %+v", got)
		}
		if got := state(t, c, full); got.Status != "CREATE_FAILED" || !strings.Contains(got.StatusReason, "No valid host was found.") || len(got.Faults) != 1 {
			t.Errorf("got %+v", got)
		}
		for _, id := range []string{metal, full} {
			if err := clusters.Delete(ctx, c, id).ExtractErr(); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Second)
		f.Boot("smoke-*", 500, "smoke", 1)
		id, err := create("sandbox", "smoke", 1)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		if got := state(t, c, id); got.Status != "CREATE_FAILED" || !strings.Contains(got.StatusReason, "smoke") {
			t.Errorf("got %+v", got)
		}
		if err := clusters.Delete(ctx, c, id).ExtractErr(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
	})
}
