package openstack_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/openstack"
	"dlx.dev/dlx/backends/sandbox"
)

const (
	server = `{"flavor": "sandbox.small", "image": "sandbox", "network": "sandbox", "user": "sandbox"}`
	node   = `{"service": "ironic", "resourceClass": "baremetal", "image": "sandbox", "user": "sandbox"}`
	coe    = `{"service": "magnum", "clusterTemplate": "sandbox", "pod": {"image": "sandbox"}}`
)

// need is a fleet of equal machines; edits change the spec: pairs of what is replaced and by what.
func need(machines int, spec string, edits ...string) backends.Need {
	spec = strings.NewReplacer(edits...).Replace(spec)
	n := backends.Need{Fleet: "f"}
	for i := range machines {
		n.Machines = append(n.Machines, backends.MachineRequest{Name: fmt.Sprint("m", i), Spec: json.RawMessage(spec)})
	}
	return n
}

func with(n backends.Need, change func(*backends.Need)) backends.Need {
	change(&n)
	return n
}

// loaded says what trials put onto each machine.
func loaded(n backends.Need, l backends.Load) backends.Need {
	for range n.Machines {
		n.Loads = append(n.Loads, l)
	}
	return n
}

// within bounds fleets by so many hosts for all.
func within(n backends.Need, hosts int) backends.Need {
	n.Uses = []backends.Use{{Resource: "hosts", Units: len(n.Machines), Capacity: hosts}}
	return n
}

// answer has a request answered otherwise.
func answer(pattern, body string) func(*sandbox.Faults) {
	return func(f *sandbox.Faults) { f.Fail(pattern, http.StatusOK, body, 100) }
}

const image = `{"images": [{"id": "1", "name": "sandbox", "status": "%s", "min_disk": %d, "min_ram": %d, "size": %d}]}`

func TestCheck(t *testing.T) {
	large := backends.Load{Processes: 1, CPUs: 8, MemoryMiB: 4096}
	gpus := backends.Load{Processes: 1, GPUs: 4}
	specs := func(s string) func(*sandbox.Faults) {
		return answer("GET /flavors/*/os-extra_specs", `{"extra_specs": {`+s+`}}`)
	}
	for _, c := range []struct {
		name  string
		run   string // that may have some of it
		needs []backends.Need
		quota sandbox.Quota
		cloud func(*sandbox.Faults)
		want  []string
	}{
		{name: "everything fits", needs: []backends.Need{need(2, server), need(2, node), need(2, coe)}},
		{name: "nothing is asked for"},
		{name: "a flavor", needs: []backends.Need{need(2, server, "sandbox.small", "sandbox.smal")}, want: []string{
			`0 -1 flavor: the cloud has no flavor "sandbox.smal" (known: sandbox.impossible, sandbox.medium, sandbox.metal, sandbox.small; did you mean "sandbox.small"?)`}},
		{name: "an image", needs: []backends.Need{need(1, server, `"image": "sandbox"`, `"image": "ubuntu"`)}, want: []string{
			`0 -1 image: the cloud has no image "ubuntu" (known: sandbox)`}},
		{name: "an image that is not active", needs: []backends.Need{need(1, node)}, cloud: answer("GET /images", fmt.Sprintf(image, "queued", 0, 0, 0)), want: []string{
			`0 -1 image: image "sandbox" is in state "queued": only active ones boot`}},
		{name: "an image that is too large", needs: []backends.Need{need(1, server)}, cloud: answer("GET /images", fmt.Sprintf(image, "active", 20, 2048, 3<<30)), want: []string{
			`0 -1 flavor: flavor "sandbox.small" has a disk of 1 GB, and image "sandbox" is 3 GB large: take a larger flavor`,
			`0 -1 flavor: flavor "sandbox.small" has a disk of 1 GB, and image "sandbox" wants 20 GB (min_disk): take a larger flavor`,
			`0 -1 flavor: flavor "sandbox.small" has 512 MiB of memory, and image "sandbox" wants 2048 MiB (min_ram): take a larger flavor`}},
		{name: "two images of one name", needs: []backends.Need{need(1, node)}, cloud: answer("GET /images", `{"images": [{"id": "1", "name": "sandbox"}, {"id": "2", "name": "sandbox"}]}`), want: []string{
			`0 -1 image: 2 images are called "sandbox": give the ID of one (1, 2)`}},
		{name: "a network", needs: []backends.Need{need(1, server, `"network": "sandbox"`, `"network": "privat"`)}, want: []string{
			`0 -1 network: the cloud has no network "privat" (known: public, sandbox)`}},
		{name: "a network without subnets", needs: []backends.Need{need(1, server)}, cloud: answer("GET /networks", `{"networks": [{"id": "1", "name": "sandbox", "admin_state_up": true}]}`), want: []string{
			`0 -1 network: network "sandbox" has no subnet: servers on it would have no address`}},
		{name: "a zone", needs: []backends.Need{need(1, server, "{", `{"zone": "rack-1", `)}, want: []string{
			`0 -1 zone: the cloud has no availability zone "rack-1" (known: nova)`}},
		{name: "a zone that is down", needs: []backends.Need{need(1, server, "{", `{"zone": "nova", `)},
			cloud: answer("GET /os-availability-zone", `{"availabilityZoneInfo": [{"zoneName": "nova", "zoneState": {"available": false}}]}`), want: []string{
				`0 -1 zone: availability zone "nova" is not available now`}},
		{name: "a spec that is none", needs: []backends.Need{need(1, `{"flavor": "x"}`)}, want: []string{
			"0 -1 : image is missing; user is missing"}},
		{name: "machines that differ", needs: []backends.Need{with(need(3, server), func(n *backends.Need) {
			n.Machines[1].Spec = json.RawMessage(strings.Replace(server, "sandbox.small", "x", 1))
		})}, want: []string{
			`0 1 flavor: the cloud has no flavor "x" (known: sandbox.impossible, sandbox.medium, sandbox.metal, sandbox.small)`}},
		{name: "processes that are too large", needs: []backends.Need{loaded(need(1, server), large)}, want: []string{
			`0 -1 flavor: the processes of a trial take 8 CPUs of a machine, and flavor "sandbox.small" has 1`,
			`0 -1 flavor: the processes of a trial take 4096 MiB of a machine's memory, and flavor "sandbox.small" has 512`}},

		{name: "GPUs that nothing shows", needs: []backends.Need{loaded(need(1, server), gpus)}, cloud: specs(`"hw:cpu_policy": "dedicated"`), want: []string{
			`0 -1 flavor: the processes of a trial take 4 GPUs of a machine, and flavor "sandbox.small" shows none: it has neither pci_passthrough:alias nor resources:VGPU (it has hw:cpu_policy=dedicated) (warning)`}},
		{name: "too few GPUs", needs: []backends.Need{loaded(need(1, server), gpus)}, cloud: specs(`"pci_passthrough:alias": "a100:2"`), want: []string{
			`0 -1 flavor: the processes of a trial take 4 GPUs of a machine, and flavor "sandbox.small" shows 2 (it has pci_passthrough:alias=a100:2) (warning)`}},
		{name: "GPUs by alias", needs: []backends.Need{loaded(need(1, server), gpus)}, cloud: specs(`"pci_passthrough:alias": "a100:4", "trait:CUSTOM_NVLINK": "required"`)},
		{name: "GPUs by resource", needs: []backends.Need{loaded(need(1, server), gpus)}, cloud: specs(`"resources:VGPU": "4"`)},
		{name: "GPUs of the sandbox's bare metal", needs: []backends.Need{loaded(need(1, server, "sandbox.small", "sandbox.metal"), gpus)}},
		{name: "GPUs of nodes of a cluster", needs: []backends.Need{loaded(need(1, coe), gpus)}, want: []string{
			`0 -1 clusterTemplate: the processes of a trial take 4 GPUs of a machine, and flavor "sandbox.medium" shows 2 (it has resources:VGPU=2) (warning)`}},
		{name: "GPUs of bare metal", needs: []backends.Need{loaded(need(1, server), gpus)}, cloud: specs(`"resources:CUSTOM_GOLD": "1", "resources:VCPU": "0"`)},
		{name: "extra specs that are not shown", needs: []backends.Need{loaded(need(1, server), gpus)}, cloud: func(f *sandbox.Faults) {
			f.Fail("GET /flavors/*/os-extra_specs", http.StatusForbidden, `{"forbidden": {"code": 403, "message": "Policy"}}`, 100)
		}},
		{name: "NUMA nodes", needs: []backends.Need{need(1, server, "small", "medium")}, cloud: specs(`"hw:numa_nodes": "3"`), want: []string{
			`0 -1 flavor: flavor "sandbox.medium" shares 2 CPUs out to 3 NUMA nodes (hw:numa_nodes), which does not come out even: Nova refuses it`}},

		{name: "instances", needs: []backends.Need{need(2, server), need(3, server)}, quota: sandbox.Quota{Instances: 4, Cores: 100, RAM: 1 << 20}, want: []string{
			`-1 -1 : the plan needs 5 instances at once (fleets f, f), the project's quota is 4 and 0 are in use: raise the quota, or bound by the testbed's capacity what is up at once`}},
		{name: "instances that capacity bounds", needs: []backends.Need{within(need(2, server), 3), within(need(3, server), 3)}, quota: sandbox.Quota{Instances: 4, Cores: 100, RAM: 1 << 20}},
		{name: "cores and memory of one fleet", needs: []backends.Need{need(4, server, "small", "medium")}, quota: sandbox.Quota{Instances: 10, Cores: 7, RAM: 4000}, want: []string{
			`-1 -1 : fleet f alone needs 8 cores, the project's quota is 7 and 0 are in use: raise the quota, or release what is in use`,
			`-1 -1 : fleet f alone needs 4096 MiB of RAM, the project's quota is 4000 and 0 are in use: raise the quota, or release what is in use`}},
		{name: "no limit", needs: []backends.Need{need(4, server)}, cloud: answer("GET /limits", `{"limits": {"absolute": {"maxTotalInstances": -1, "maxTotalKeypairs": -1, "maxServerGroupMembers": -1}}}`)},
		{name: "keypairs", needs: []backends.Need{need(1, server)}, quota: sandbox.Quota{KeyPairs: 1}, cloud: answer("GET /os-keypairs", `{"keypairs": [{"keypair": {"name": "mine"}}]}`), want: []string{
			`-1 -1 : the plan needs 1 keypair, the user's quota is 1 and 1 are in use: remove one that nobody needs`}},
		{name: "ports", needs: []backends.Need{need(3, server)}, cloud: answer("GET /quotas/*/details.json", `{"quota": {"port": {"limit": 4, "used": 2, "reserved": 0}}}`), want: []string{
			`-1 -1 : fleet f alone needs 3 ports, the project's quota is 4 and 2 are in use: raise the quota, or release what is in use`}},
		{name: "server groups", needs: []backends.Need{
			with(need(3, server), func(n *backends.Need) { n.Hosts = backends.DifferentHosts }),
			with(need(2, server), func(n *backends.Need) { n.Hosts = backends.SameHost }), need(2, server),
		}, quota: sandbox.Quota{ServerGroups: 1, GroupMembers: 2}, want: []string{
			`0 -1 : fleet f has 3 servers in one server group, and the quota is 2`,
			`-1 -1 : the plan needs 2 server groups at once (fleets f, f), the project's quota is 1 and 0 are in use: raise the quota, or bound by the testbed's capacity what is up at once`}},

		{name: "a resource class", needs: []backends.Need{need(1, node, "baremetal", "baremetl")}, want: []string{
			`0 -1 resourceClass: no node has the resource class "baremetl" (known: baremetal)`}},
		{name: "nodes", needs: []backends.Need{need(2, node), need(3, node)}, want: []string{
			`0 -1 resourceClass: 5 nodes of resource class "baremetal" are needed at once, and 4 of 4 are available: wait for them, or bound by the testbed's capacity what is up at once`}},
		{name: "nodes that capacity bounds", needs: []backends.Need{within(need(2, node), 4), within(need(3, node), 4)}},
		{name: "nodes of others", needs: []backends.Need{need(2, node)}, cloud: answer("GET /nodes", `{"nodes": [
			{"uuid": "1", "provision_state": "active", "instance_uuid": "x", "resource_class": "baremetal"}, {"uuid": "2", "provision_state": "available", "resource_class": "baremetal"},
			{"uuid": "3", "provision_state": "available", "resource_class": "baremetal", "maintenance": true}]}`), want: []string{
			`0 -1 resourceClass: 2 nodes of resource class "baremetal" are needed at once, and 1 of 3 are available (1 active, 1 in maintenance): wait for them, or bound by the testbed's capacity what is up at once`}},
		{name: "nodes that the run has", run: "r1", needs: []backends.Need{need(2, node)}, cloud: func(f *sandbox.Faults) {
			answer("GET /nodes", `{"nodes": [{"uuid": "1", "provision_state": "active", "instance_uuid": "a", "resource_class": "baremetal"},
				{"uuid": "2", "provision_state": "active", "instance_uuid": "x", "resource_class": "baremetal"}]}`)(f)
			answer("GET /allocations", `{"allocations": [{"uuid": "a", "name": "dlx-r1-f-m0", "extra": {"dlx-run": "r1", "dlx-fleet": "f"}},
				{"uuid": "x", "name": "dlx-r2-f-m0", "extra": {"dlx-run": "r2", "dlx-fleet": "f"}}]}`)(f)
		}, want: []string{
			`0 -1 resourceClass: 2 nodes of resource class "baremetal" are needed at once, and 1 of 2 are available (1 active): wait for them, or bound by the testbed's capacity what is up at once`}},
		{name: "nodes on one host", needs: []backends.Need{with(need(2, node), func(n *backends.Need) { n.Hosts = backends.SameHost })}, want: []string{
			`0 -1 service: 2 machines of f are to stand on one host, and a machine of ironic is a host of its own`}},

		{name: "a cluster template", needs: []backends.Need{need(1, coe, `"clusterTemplate": "sandbox"`, `"clusterTemplate": "sandbox-mtal"`)}, want: []string{
			`0 -1 clusterTemplate: the cloud has no cluster template "sandbox-mtal" (known: sandbox, sandbox-metal; did you mean "sandbox-metal"?)`}},
		{name: "flavors of nodes", needs: []backends.Need{need(1, coe, "{", `{"flavor": "x", "masterFlavor": "y", `, `{"image"`, `{"image"`)}, want: []string{
			`0 -1 flavor: the cloud has no flavor "x" (known: sandbox.impossible, sandbox.medium, sandbox.metal, sandbox.small)`,
			`0 -1 masterFlavor: the cloud has no flavor "y" (known: sandbox.impossible, sandbox.medium, sandbox.metal, sandbox.small)`}},
		{name: "what a template names", needs: []backends.Need{need(1, coe)}, cloud: answer("GET /clustertemplates", `{"clustertemplates": [
			{"uuid": "1", "name": "sandbox", "flavor_id": "x", "master_flavor_id": "1", "image_id": "fedora"}]}`), want: []string{
			`0 -1 clusterTemplate: of cluster template "sandbox": the cloud has no flavor "x" (known: sandbox.impossible, sandbox.medium, sandbox.metal, sandbox.small)`,
			`0 -1 clusterTemplate: the cloud has no image "fedora" (known: sandbox)`}},
		{name: "clusters", needs: []backends.Need{need(1, coe), need(1, coe)}, cloud: answer("GET /quotas/*/Cluster", `{"hard_limit": 1}`), want: []string{
			`-1 -1 : the plan needs 2 clusters at once (fleets f, f), the project's quota is 1 and 0 are in use: raise the quota, or bound by the testbed's capacity what is up at once`}},
		{name: "nodes of clusters are instances", needs: []backends.Need{need(3, coe)}, quota: sandbox.Quota{Instances: 3, Cores: 100, RAM: 1 << 20}, want: []string{
			`-1 -1 : fleet f alone needs 4 instances, the project's quota is 3 and 0 are in use: raise the quota, or release what is in use`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, _ := cloudWith(t, c.quota, c.cloud)
			found, err := b.Provider.(backends.Checker).Check(t.Context(), c.run, c.needs)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range found {
				text := fmt.Sprintf("%d %d %s: %s", f.Need, f.Machine, f.Field, f.Msg)
				if f.Warning {
					text += " (warning)"
				}
				got = append(got, text)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// cloudWith is a sandbox of four hosts and a backend over it.
func cloudWith(t *testing.T, q sandbox.Quota, change func(*sandbox.Faults)) (*backends.Backend, *sandbox.Faults) {
	t.Helper()
	faults := &sandbox.Faults{}
	s, err := sandbox.Start(t.Context(), sandbox.Config{State: t.TempDir(), Hosts: 4, Faults: faults, Quota: q})
	if err != nil {
		t.Fatal(err)
	}
	user, password, _, _ := s.Credentials()
	b, err := openstack.New(t.Context(), openstack.Params{
		Auth:     gophercloud.AuthOptions{IdentityEndpoint: s.URL(), Username: user, Password: password, DomainID: "default", TenantName: "sandbox"},
		Endpoint: gophercloud.EndpointOpts{Region: sandbox.Region}, Secret: make([]byte, 32),
	})
	if err != nil {
		t.Fatal(errors.Join(err, s.Close()))
	}
	t.Cleanup(func() {
		if err := errors.Join(b.Close(context.WithoutCancel(t.Context())), s.Close()); err != nil {
			t.Error(err)
		}
	})
	if change != nil {
		change(faults)
	}
	return b, faults
}

// A check only reads, and what cannot be asked is an error beside what was found until then.
func TestCheckOnlyReads(t *testing.T) {
	b, faults := cloudWith(t, sandbox.Quota{}, nil)
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
		for _, path := range []string{"/*", "/*/*", "/*/*/*"} {
			faults.Fail(method+" "+path, http.StatusInternalServerError, `{"computeFault": {"message": "written"}}`, 1)
		}
	}
	needs := []backends.Need{need(1, server, "sandbox.small", "x"), need(2, node), need(2, coe)}
	check := b.Provider.(backends.Checker).Check
	if found, err := check(t.Context(), "", needs); err != nil || len(found) != 1 {
		t.Errorf("got %v, %v; want one finding", found, err)
	}
	faults.Fail("GET /nodes", http.StatusServiceUnavailable, `{"error_message": "busy"}`, 1)
	found, err := check(t.Context(), "", needs)
	if backends.ClassOf(err) != backends.Transport || len(found) != 1 {
		t.Errorf("got %v, %v; want one finding and an error of class transport", found, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	<-ctx.Done()
	if _, err := check(ctx, "", needs); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v; want the context's cause", err)
	}
}
