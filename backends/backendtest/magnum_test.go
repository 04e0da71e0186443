package backendtest_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	gopherstack "github.com/gophercloud/gophercloud/v2/openstack"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/backendtest"
	"dlx.dev/dlx/backends/sandbox"
)

// What Magnum itself does with a fleet, checked against the sandbox and, where there is one, a real
// cloud. No machine need be behind the clusters.

func TestMagnumSandbox(t *testing.T) {
	t.Parallel()
	w := &world{t: t, spec: server, poll: 10 * time.Millisecond}
	w.cfg = sandbox.Config{State: t.TempDir(), Hosts: 4}
	b := w.bed()
	user, password, _, _ := w.cloud.Credentials()
	client, _ := loginTo(t, gophercloud.AuthOptions{IdentityEndpoint: w.cloud.URL(), Username: user, Password: password, DomainID: "default", TenantName: "sandbox"},
		gophercloud.EndpointOpts{Region: sandbox.Region}, nil)
	clusterLife(t, b, client.ProviderClient, gophercloud.EndpointOpts{Region: sandbox.Region}, "sandbox", "")
}

func TestMagnumCloud(t *testing.T) {
	t.Parallel()
	if why := noReal(); why != "" {
		backendtest.Run(t, backendtest.World{Name: "openstack/magnum", Skip: why})
		return
	}
	template := readReal(t).Template
	if template == "" {
		backendtest.Run(t, backendtest.World{Name: "openstack/magnum", Skip: realVariable + ` names no "template"`})
		return
	}
	w := openReal(t)
	clusterLife(t, w.bed(), w.compute.ProviderClient, w.params.Endpoint, template, "of_template")
}

// clusterLife makes a fleet of two nodes, finds it again, and removes it.
func clusterLife(t *testing.T, b *backendtest.Bed, client *gophercloud.ProviderClient, endpoint gophercloud.EndpointOpts, template, templateLabel string) {
	spec := json.RawMessage(`{"service": "magnum", "clusterTemplate": "` + template + `", "labels": {"of_request": "yes"}, "pod": {"image": "sandbox"}}`)
	r := (&novaBed{}).request("f", 2, spec, backends.DifferentHosts)
	first, err := b.Backend.Provision(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	second, err := b.Backend.Provision(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if first[0].ID != second[0].ID || first[0].ID == first[1].ID {
		t.Errorf("got %s and %s, then %s", first[0].ID, first[1].ID, second[0].ID)
	}
	checkKubeconfig(t, first[0].Access.Kubernetes.Config)

	coe, err := gopherstack.NewContainerInfraV1(client, endpoint)
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Clusters []struct {
			Name   string            `json:"name"`
			Nodes  int               `json:"node_count"`
			Labels map[string]string `json:"labels"`
		} `json:"clusters"`
	}
	coe.Microversion = "1.10" // that of the provider
	askNova(t, coe, "GET", coe.ServiceURL("clusters", "detail"), nil, &list)
	if len(list.Clusters) != 1 || list.Clusters[0].Nodes != 2 {
		t.Fatalf("got clusters %+v; want one of two nodes", list.Clusters)
	}
	labels := list.Clusters[0].Labels
	for name, want := range map[string]string{"dlx-run": novaRun, "dlx-fleet": "f", "of_request": "yes", templateLabel: "yes"} {
		if name != "" && labels[name] != want {
			t.Errorf("label %s: got %q of %v; want %q", name, labels[name], labels, want)
		}
	}
	if err := b.Backend.Release(t.Context(), r.Owner, forgetful{}); err != nil {
		t.Error(err)
	}
	if left, err := b.Backend.Owned(t.Context(), backends.Owner{Run: novaRun}); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// checkKubeconfig checks that the certificate in a kubeconfig is one of its cluster's CA, and is an
// administrator's.
func checkKubeconfig(t *testing.T, config []byte) {
	t.Helper()
	cfg := administrator(t, config)
	pair, err := tls.X509KeyPair(cfg.CertData, cfg.KeyData)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cfg.CAData)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		t.Error(err)
	}
	if leaf.Subject.CommonName != "dlx" || len(leaf.Subject.Organization) != 1 || leaf.Subject.Organization[0] != "system:masters" {
		t.Errorf("got subject %v", leaf.Subject)
	}
}
