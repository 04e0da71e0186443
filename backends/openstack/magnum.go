package openstack

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/containerinfra/v1/certificates"
	"github.com/gophercloud/gophercloud/v2/openstack/containerinfra/v1/clusters"
	"github.com/gophercloud/gophercloud/v2/openstack/containerinfra/v1/clustertemplates"

	"dlx.dev/dlx/backends"
)

// A fleet of machines of Magnum is one cluster, with a node for each machine. Which node is which
// machine the launcher finds out: this package knows no Kubernetes.

// A coe is the cluster of a fleet on its way.
type coe struct {
	name     string
	spec     Spec
	template string // ID
	id       string
	view     *clusterView
}

// clusterView is the part of a cluster's record that is used.
type clusterView struct {
	ID     string            `json:"uuid"`
	Name   string            `json:"name"`
	Status string            `json:"status"`
	Reason string            `json:"status_reason"`
	Faults map[string]string `json:"faults"`
	API    string            `json:"api_address"`
	Nodes  int               `json:"node_count"`
	Flavor string            `json:"flavor_id"`
	Labels map[string]string `json:"labels"`
	COE    string            `json:"coe_version"`
}

func (v *clusterView) object() backends.Object {
	return backends.Object{Kind: "cluster", Name: v.Name, ID: v.ID}
}

// clusterName is the cloud's name of a fleet's cluster. The host names of its nodes begin with it and
// have about 20 characters more.
func clusterName(o backends.Owner) string {
	return cut(runPrefix(o.Run)+strings.ToLower(o.Fleet), maxLabel-23)
}

// Clusters have no tags: their labels say whose they are. Drivers ignore labels they do not know.

// prepareCluster checks the machines of a fleet that are nodes of a cluster.
func (o *provider) prepareCluster(ctx context.Context, f *fleet) error {
	jobs := f.of("magnum")
	if len(jobs) == 0 {
		return nil
	}
	op := "provision " + f.Owner.Fleet
	switch {
	case o.cloud.coe == nil:
		return backends.Errorf(backends.Config, op, "the cloud's catalog has no container-infra service (Magnum)")
	case len(jobs) != len(f.jobs):
		return backends.Errorf(backends.Config, op, "%d of its %d machines are nodes of a cluster: all or none", len(jobs), len(f.jobs))
	case f.Hosts == backends.SameHost && len(jobs) > 1:
		return backends.Errorf(backends.Config, op, "%d nodes of a cluster on one host are asked for, and Magnum places nodes as it likes", len(jobs))
	}
	for i, m := range f.Machines {
		if !bytes.Equal(m.Spec, f.Machines[0].Spec) {
			return backends.Errorf(backends.Config, op, "machines %q and %q differ, and the nodes of a cluster are equal", f.Machines[0].Name, f.Machines[i].Name)
		}
	}
	f.cluster = &coe{name: clusterName(f.Owner), spec: jobs[0].spec}
	var err error
	if f.cluster.template, err = o.templateID(ctx, f.cluster.spec.Template); err != nil {
		return err
	}
	for _, name := range []*string{&f.cluster.spec.Flavor, &f.cluster.spec.MasterFlavor} {
		if *name != "" {
			if _, err := o.cloud.flavor(ctx, *name); err != nil {
				return err
			}
		}
	}
	return nil
}

// templateID finds a cluster template by name or ID.
func (o *provider) templateID(ctx context.Context, name string) (string, error) {
	op := "find cluster template " + name
	pages, err := clustertemplates.List(o.cloud.coe, nil).AllPages(ctx)
	if err = o.cloud.fail(ctx, op, err); err != nil {
		return "", err
	}
	all, err := clustertemplates.ExtractClusterTemplates(pages)
	if err != nil {
		return "", backends.Errorf(backends.Infra, op, "%w", err)
	}
	var found []string
	for _, t := range all {
		if t.UUID == name {
			return t.UUID, nil
		}
		if t.Name == name {
			found = append(found, t.UUID)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", backends.Errorf(backends.Config, op, "the cloud has no cluster template of this name")
	default:
		return "", backends.Errorf(backends.Config, op, "the cloud has %d cluster templates of this name; give its ID", len(found))
	}
}

// listClusters is the one request behind all waiting for clusters. A GET of one is avoided: Magnum
// answers it with 400 for a moment while the cluster goes.
func (o *provider) listClusters(ctx context.Context) (map[string]*clusterView, error) {
	out := map[string]*clusterView{}
	if o.cloud.coe == nil {
		return out, nil
	}
	pages, err := clusters.ListDetail(o.cloud.coe, nil).AllPages(ctx)
	if err = o.cloud.fail(ctx, "list clusters", err); err != nil {
		return nil, err
	}
	all, err := clusters.ExtractClusters(pages)
	if err != nil {
		return nil, backends.Errorf(backends.Infra, "list clusters", "%w", err)
	}
	for i := range all {
		c := &all[i]
		out[c.UUID] = &clusterView{ID: c.UUID, Name: c.Name, Status: c.Status, Reason: c.StatusReason, Faults: c.Faults, API: c.APIAddress,
			Nodes: c.NodeCount, Flavor: c.FlavorID, COE: c.COEVersion, Labels: c.Labels}
	}
	return out, nil
}

func clustersChanged(a, b map[string]*clusterView) bool {
	if len(a) != len(b) {
		return true
	}
	for id, v := range b {
		if w := a[id]; w == nil || w.Status != v.Status {
			return true
		}
	}
	return false
}

// ownedClusters finds the clusters of an owner, by their labels.
func (o *provider) ownedClusters(ctx context.Context, owner backends.Owner) ([]*clusterView, error) {
	all, err := o.listClusters(ctx)
	if err != nil {
		return nil, err
	}
	var out []*clusterView
	for _, v := range all {
		if belongs(owner, nil, v.Labels) {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b *clusterView) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID))
	})
	return out, nil
}

// makeCluster asks for the cluster of a fleet unless it is there.
func (o *provider) makeCluster(ctx, stop context.Context, f *fleet) error {
	c, op := f.cluster, "create cluster "+f.cluster.name
	login, err := o.loginKey(f.Owner.Run)
	if err != nil {
		return backends.Errorf(backends.Internal, op, "%w", err)
	}
	leave, err := o.keys.Enter(stop, f.Owner.Run)
	if err != nil {
		return err
	}
	err = o.ensureKeypair(ctx, f, login)
	leave()
	if err != nil {
		return err
	}
	there, err := o.ownedClusters(ctx, f.Owner)
	if err != nil {
		return err
	}
	if len(there) > 0 {
		v := there[0]
		if strings.HasPrefix(v.Status, "DELETE") {
			return backends.Errorf(backends.Infra, "cluster "+c.name, "an older one of this name is still being deleted (%s)", v.Status)
		}
		c.id = v.ID
		return f.Ledger.Made(ctx, f.Owner, v.object())
	}
	if stop.Err() != nil {
		return context.Cause(stop)
	}
	obj := backends.Object{Kind: "cluster", Name: c.name}
	if err := f.Ledger.Intend(ctx, f.Owner, obj); err != nil {
		return err
	}
	nodes, masters, merge := len(f.jobs), max(1, c.spec.Masters), true
	marks := labels(f.Owner, "", f.Until)
	delete(marks, keyName)
	maps.Copy(marks, c.spec.Labels)
	opts := clusters.CreateOpts{Name: c.name, ClusterTemplateID: c.template, NodeCount: &nodes, MasterCount: &masters,
		FlavorID: c.spec.Flavor, MasterFlavorID: c.spec.MasterFlavor, Keypair: keypairName(f.Owner.Run),
		Labels: marks, MergeLabels: &merge} // over the template's labels, not in place of them
	id, err := clusters.Create(ctx, o.cloud.coe, opts).Extract()
	err = o.cloud.fail(ctx, op, err)
	switch {
	case err == nil:
		c.id = id
	case backends.ClassOf(err) == backends.Transport: // it may have arrived
		there, lerr := o.ownedClusters(ctx, f.Owner)
		if lerr != nil || len(there) == 0 {
			return err
		}
		c.id = there[0].ID
	default:
		return err
	}
	obj.ID = c.id
	return f.Ledger.Made(ctx, f.Owner, obj)
}

// awaitCluster waits until the cluster of a fleet is complete.
func (o *provider) awaitCluster(ctx context.Context, f *fleet) error {
	c, began := f.cluster, time.Now()
	return o.coes.wait(ctx, func(seen map[string]*clusterView) (bool, error) {
		v := seen[c.id]
		switch {
		case v == nil:
			return false, backends.Errorf(backends.Infra, "cluster "+c.name, "it vanished while it was built")
		case v.Status == "CREATE_COMPLETE":
			c.view = v
			return true, nil
		case v.Status == "CREATE_FAILED":
			return false, o.clusterError(v)
		case strings.HasPrefix(v.Status, "DELETE"):
			return false, backends.Errorf(backends.Infra, "cluster "+c.name, "somebody deletes it (%s)", v.Status)
		case time.Since(began) > o.p.Boot:
			return false, backends.Errorf(backends.Infra, "cluster "+c.name, "it is in state %s since %v", v.Status, o.p.Boot)
		}
		return false, nil
	})
}

// clusterError says why a cluster failed: its reason, and the faults of its parts.
func (o *provider) clusterError(v *clusterView) error {
	why := []string{cmp.Or(plain(v.Reason), "no reason given")}
	for k, fault := range v.Faults {
		if !strings.Contains(v.Reason, fault) {
			why = append(why, k+": "+fault)
		}
	}
	slices.Sort(why[1:])
	text := o.cloud.redact(clip(strings.Join(why, "; ")))
	return backends.Errorf(faultClass(text), "cluster "+v.Name, "it is in state %s: %s", v.Status, text)
}

// nodes are the machines of a fleet that is a cluster. Each has a node of its own.
func (o *provider) nodes(ctx context.Context, f *fleet) ([]backends.Machine, error) {
	c := f.cluster
	config, err := o.kubeconfig(ctx, c.view)
	if err != nil {
		return nil, err
	}
	facts := map[string]string{"service": "magnum", "cluster": c.view.Name, "clusterTemplate": c.spec.Template, "coeVersion": c.view.COE, "flavor": c.view.Flavor}
	var out []backends.Machine
	for i, j := range f.jobs {
		out = append(out, backends.Machine{
			Name: j.machine, ID: fmt.Sprintf("%s/%d", c.view.ID, i), Facts: facts,
			Access: backends.Access{Kubernetes: &backends.Kubernetes{
				Config: config, Namespace: strings.TrimSuffix(runPrefix(f.Owner.Run), "-"), Owner: f.Owner, Hosts: backends.DifferentHosts, Pod: c.spec.Pod,
			}},
		})
	}
	return out, nil
}

// kubeconfig makes the credentials of an administrator of the cluster: a key of this process, and a
// certificate for it that the cluster's CA signs. They are kept as long as this process lives.
func (o *provider) kubeconfig(ctx context.Context, v *clusterView) ([]byte, error) {
	o.mu.Lock()
	known := o.configs[v.ID]
	o.mu.Unlock()
	if known != nil {
		return known, nil
	}
	op := "credentials of cluster " + v.Name
	ca, err := certificates.Get(ctx, o.cloud.coe, v.ID).Extract()
	if err = o.cloud.fail(ctx, op, err); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, backends.Errorf(backends.Internal, op, "%w", err)
	}
	// The group is the one that every cluster binds to cluster-admin.
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "dlx", Organization: []string{"system:masters"}}}, key)
	if err != nil {
		return nil, backends.Errorf(backends.Internal, op, "%w", err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, backends.Errorf(backends.Internal, op, "%w", err)
	}
	signed, err := certificates.Create(ctx, o.cloud.coe, certificates.CreateOpts{ClusterUUID: v.ID,
		CSR: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))}).Extract()
	if err = o.cloud.fail(ctx, op, err); err != nil {
		return nil, err
	}
	config, err := kubeconfigOf(v.API, []byte(ca.PEM), []byte(signed.PEM), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
	if err != nil {
		return nil, backends.Errorf(backends.Internal, op, "%w", err)
	}
	o.mu.Lock()
	o.configs[v.ID] = config
	o.mu.Unlock()
	return config, nil
}

// kubeconfigOf writes a kubeconfig as JSON, which is YAML.
func kubeconfigOf(server string, ca, cert, key []byte) ([]byte, error) {
	type named map[string]any
	return json.Marshal(named{
		"apiVersion": "v1", "kind": "Config", "current-context": "dlx",
		"clusters": []named{{"name": "dlx", "cluster": named{"server": server, "certificate-authority-data": ca}}},
		"users":    []named{{"name": "dlx", "user": named{"client-certificate-data": cert, "client-key-data": key}}},
		"contexts": []named{{"name": "dlx", "context": named{"cluster": "dlx", "user": "dlx"}}},
	})
}

// releaseClusters deletes the clusters of an owner and sees them gone.
func (o *provider) releaseClusters(ctx context.Context, owner backends.Owner, l backends.Ledger) error {
	if o.cloud.coe == nil {
		return nil
	}
	left, err := o.ownedClusters(ctx, owner)
	if err != nil || len(left) == 0 {
		return err
	}
	open, tries := map[string]*clusterView{}, map[string]int{}
	for _, v := range left {
		open[v.ID] = v
	}
	return o.coes.wait(ctx, func(seen map[string]*clusterView) (bool, error) {
		for id, old := range open {
			v := seen[id]
			if v == nil {
				of := owner
				of.Fleet = old.Labels[keyFleet]
				if err := l.Gone(ctx, of, old.object()); err != nil {
					return false, err
				}
				o.mu.Lock()
				delete(o.configs, id)
				o.mu.Unlock()
				delete(open, id)
				continue
			}
			if v.Status == "DELETE_IN_PROGRESS" {
				continue
			}
			if tries[id]++; tries[id] > deleteTries {
				return false, backends.Errorf(backends.Infra, "delete cluster "+v.Name, "it is still there in state %s: %s", v.Status, o.cloud.redact(clip(plain(v.Reason))))
			}
			err := clusters.Delete(ctx, o.cloud.coe, id).ExtractErr()
			if err = o.cloud.fail(ctx, "delete cluster "+v.Name, err); err != nil && !notFound(err) && !conflict(err) {
				return false, err
			}
		}
		return len(open) == 0, nil
	})
}
