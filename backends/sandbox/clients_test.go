package sandbox_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"

	"dlx.dev/dlx/backends/sandbox"
)

// wanted reports whether DLX_TEST_REQUIRE demands the tests of a client.
func wanted(client string) bool {
	return slices.Contains(strings.Split(os.Getenv("DLX_TEST_REQUIRE"), ","), client)
}

// clientTool finds an ordinary client. Without it a test is skipped, unless DLX_TEST_REQUIRE demands it.
func clientTool(t *testing.T, name, client string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	lacks(t, name+" is not in PATH", client)
	return ""
}

func lacks(t *testing.T, what, client string) {
	t.Helper()
	if wanted(client) {
		t.Fatalf("%s, and DLX_TEST_REQUIRE demands it: make clients", what)
	}
	t.Skipf("%s: make clients; DLX_TEST_REQUIRE=%s demands it", what, client)
}

// command is a client with files of a sandbox for its own.
type command struct {
	t    *testing.T
	path string
	dir  string
	env  []string
}

// clientPatience bounds one client: those of OpenStack take a second to start on an idle computer.
const clientPatience = 2 * time.Minute

// run gives what the client prints, both ways.
func (c *command) run(stdin string, args ...string) (string, error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), clientPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.path, args...)
	cmd.Dir, cmd.Env, cmd.Stdin = c.dir, append(os.Environ(), c.env...), strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// servedFiles starts a sandbox over real sockets and writes the files that clients need.
func servedFiles(t *testing.T) (s *sandbox.Server, dir string) {
	t.Helper()
	s, err := sandbox.Start(t.Context(), sandbox.Config{State: t.TempDir(), Keep: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.End(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	dir = t.TempDir()
	kubeconfig, err := s.Cluster("standing", 2)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"clouds.yaml": s.CloudsYAML(), "kubeconfig": kubeconfig} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s, dir
}

// varying are parts of a client's output that differ from run to run.
var varying = []struct {
	is   *regexp.Regexp
	name string
}{
	{regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`), "UUID"},
	{regexp.MustCompile(`127\.77\.\d+\.\d+`), "ADDRESS"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "API"},
	{regexp.MustCompile(`(?s)-----BEGIN.*END OPENSSH PRIVATE KEY-----`), "KEY"},
	{regexp.MustCompile(`\((cgroup[12] [a-z0-9_. ]+|affinity)\)`), "LIMIT"},
	{regexp.MustCompile(`CPUs [0-9,]+`), "CPUs N"},
	{regexp.MustCompile(`node-[01]\b`), "node-N"},
	{regexp.MustCompile(`-[0-9a-f]{12}-node`), "-STACK-node"},
	{regexp.MustCompile(`(j-[01])-[a-z0-9]{5}`), "$1-POD"},
	{regexp.MustCompile(`\b\d+s\b`), "Ns"},
	{regexp.MustCompile(` +`), " "},
}

func steady(text string) string {
	for _, v := range varying {
		text = v.is.ReplaceAllString(text, v.name)
	}
	return strings.TrimSpace(text)
}

// Debian's openstackclient, with the plugins of Magnum and Ironic. One process runs many commands:
// it takes them from its input.
func TestOpenStackClient(t *testing.T) {
	const client = "openstackclient"
	path := clientTool(t, "openstack", client)
	_, dir := servedFiles(t)
	openstack := &command{t: t, path: path, dir: dir, env: []string{"OS_CLIENT_CONFIG_FILE=" + filepath.Join(dir, "clouds.yaml"), "OS_CLOUD=" + sandbox.Cloud}}
	for _, plugin := range []string{"coe cluster list", "baremetal node list"} {
		if out, err := openstack.run("", strings.Fields("help "+plugin)...); err != nil || strings.Contains(out, "not an openstack command") {
			lacks(t, "openstack knows no "+plugin, client)
		}
	}
	for _, c := range []struct{ name, in, want string }{
		{"what there is", `
token issue -f value -c project_id
catalog list -f value -c Name
flavor list -f value -c Name -c VCPUs
flavor show sandbox.small -f value -c ram
image list -f value -c Name -c Status
image show sandbox -f value -c disk_format
network list -f value -c Name
network list --external -f value -c Name
network show sandbox -f value -c status
availability zone list -f value
quota show -f value -c cores -c networks
limits show --absolute -f value
coe cluster template list -f value -c name
coe cluster list -f value
baremetal node list -f value --fields name provision_state
server list -f value
`, `
5a6e64626f78000000000000000000aa
keystone
nova
glance
neutron
ironic
magnum
sandbox.small 1
sandbox.medium 2
sandbox.impossible 4096
sandbox.metal 16
512
sandbox active
raw
sandbox
public
public
ACTIVE
nova available
512
-1
maxServerGroupMembers 10
maxServerGroups 10
maxServerMeta 128
maxTotalCores 512
maxTotalInstances 64
maxTotalKeypairs 100
maxTotalRAMSize 524288
totalCoresUsed 0
totalInstancesUsed 0
totalRAMUsed 0
totalServerGroupsUsed 0
sandbox
sandbox-metal
node1 available
node2 available
`},
		{"the life of a server", `
keypair create k
keypair list -f value -c Name
keypair show k -f value -c type
server group create --policy anti-affinity g -f value -c policy
server group list -f value -c Name -c Policy
server group show g -f value -c policy
server create --flavor sandbox.small --image sandbox --network sandbox --key-name k --tag t s -f value -c name
server list -f value
server show s -f value -c key_name -c status
console log show s
server delete --wait s
server list -f value
server group delete g
keypair delete k
keypair list -f value
`, `
KEY

k
ssh
anti-affinity
g anti-affinity
anti-affinity
s
UUID s ACTIVE {'sandbox': ['ADDRESS']} sandbox sandbox.small
k
ACTIVE
sandbox: s on host1
sandbox: flavor sandbox.small, CPUs N LIMIT
sshd: listening on ADDRESS
s login:
`},
		{"the life of a network", `
network create n -f value -c name
subnet create --network n --subnet-range 10.250.0.0/24 --dns-nameserver 192.0.2.53 n -f value -c gateway_ip
router create --external-gateway public r -f value -c name
router add subnet r n
network delete n
security group create g -f value -c name
security group rule create --protocol tcp --dst-port 22 g -f value -c port_range_min
server create --flavor sandbox.small --image sandbox --network n --security-group g s --wait -f value -c name
security group delete g
floating ip create --tag t public -f value -c floating_ip_address
server add floating ip s 127.78.0.1
floating ip list --tags t -f value
server list -f value -c Networks
network list --tags t -f value -c Name
floating ip delete 127.78.0.1
floating ip list -f value
server delete --wait s
router remove subnet r n
router list -f value -c Name -c Status
router delete r
network delete n
security group delete g
router list -f value
subnet list -f value -c Name
`, `
n
10.250.0.1
r
Failed to delete network with name or ID 'n': ConflictException: 409: Client Error for url: http://API/network/v2.0/networks/UUID, Unable to complete operation on network UUID. There are one or more ports still in use on the network, id for these ports is: UUID.
1 of 1 networks failed to delete.
g
22

s
Failed to delete group with name or ID 'g': ConflictException: 409: Client Error for url: http://API/network/v2.0/security-groups/UUID, Security Group UUID in use.
1 of 1 groups failed to delete.
127.78.0.1
UUID 127.78.0.1 ADDRESS UUID UUID 5a6e64626f78000000000000000000aa
{'n': ['ADDRESS', '127.78.0.1']}
r ACTIVE
sandbox
public
`},
		{"what is not served", `
project list
hypervisor list
server stop nothing
volume list
`, `
the sandbox does not serve GET /identity/v3/projects (HTTP 501)
the sandbox does not serve GET /compute/v2.1/os-hypervisors/detail (HTTP 501)
No server with a name or ID of 'nothing' exists.
public endpoint for volumev3 service in sandbox region not found
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := openstack.run(c.in)
			if diff := cmp.Diff(strings.TrimSpace(c.want), steady(out)); diff != "" {
				t.Errorf("%v, -want +got:\n%s\nthe whole output:\n%s", err, diff, out)
			}
		})
	}
	t.Run("a cluster of Magnum", func(t *testing.T) {
		if out, err := openstack.run("", strings.Fields("coe cluster create --cluster-template sandbox --node-count 2 c")...); err != nil {
			t.Fatal(err, out)
		}
		status := ""
		for range 30 { // each takes a second
			if status, _ = openstack.run("", strings.Fields("coe cluster show c -f value -c status")...); !strings.Contains(status, "IN_PROGRESS") {
				break
			}
		}
		if out, err := openstack.run("coe cluster list -f value -c name -c status\ncoe cluster config --dir " + dir + " c\n"); err != nil || !strings.HasPrefix(out, "c CREATE_COMPLETE") {
			t.Fatalf("%s: %v, %s", status, err, out)
		}
		text, err := os.ReadFile(filepath.Join(dir, "config"))
		if err != nil {
			t.Fatal(err)
		}
		cfg := (&world{t: t}).client(text)
		cfg.GroupVersion, cfg.NegotiatedSerializer = nil, nil
		tr, err := rest.HTTPClientFor(cfg)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.Get(cfg.Host + "/api/v1/nodes")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("got %s", resp.Status)
		}
	})
}

const manifest = `apiVersion: v1
kind: Namespace
metadata: {name: n1}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: cm, namespace: n1}
data: {a: "1"}
---
apiVersion: v1
kind: Service
metadata: {name: svc, namespace: n1}
spec: {clusterIP: None, selector: {app: x}, ports: [{port: 80}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: j, namespace: n1}
spec:
  completions: 2
  parallelism: 2
  completionMode: Indexed
  template:
    metadata: {labels: {app: x}}
    spec:
      restartPolicy: Never
      containers: [{name: c, image: sandbox, command: ["sh", "-c", "echo $JOB_COMPLETION_INDEX"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: n1}
spec:
  restartPolicy: Never
  containers: [{name: c, image: sandbox, command: ["sh", "-c", "echo up; sleep 1000"]}]
`

// kubectl of any release that is there; make clients builds the one that the sandbox follows.
func TestKubectl(t *testing.T) {
	path := clientTool(t, "kubectl", "kubectl")
	_, dir := servedFiles(t)
	kubectl := &command{t: t, path: path, dir: dir, env: []string{"KUBECONFIG=" + filepath.Join(dir, "kubeconfig"), "HOME=" + dir}}
	for name, text := range map[string]string{"m.yaml": manifest, "bad.yaml": strings.NewReplacer("\ndata:", "\ndada:", "namespace: n1", "namespace: default").Replace(strings.Split(manifest, "---\n")[1])} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ args, want string }{
		{"version -o yaml", "gitVersion: v1.37.2"},
		{"api-versions", "^authentication.k8s.io/v1\nauthorization.k8s.io/v1\nbatch/v1\nrbac.authorization.k8s.io/v1\nv1$"},
		{"api-resources --no-headers -o name", "jobs.batch\n(.*\n)*roles.rbac.authorization.k8s.io$"},
		{"auth can-i create pods", "^yes$"},
		{"auth whoami", "Username admin"},
		{"get nodes", "NAME STATUS ROLES AGE VERSION\nstanding-STACK-node-N Ready <none> Ns v1.37.2\n"},
		{"get nodes -o wide", "sandbox://1"},
		{"describe nodes", "nvidia.com/gpu: +2"},
		{"apply -f m.yaml", "^namespace/n1 created\nconfigmap/cm created\nservice/svc created\njob.batch/j created\npod/p created$"},
		{"apply -f m.yaml", "^namespace/n1 unchanged\nconfigmap/cm unchanged\nservice/svc unchanged\njob.batch/j unchanged\npod/p unchanged$"},
		{"apply -f bad.yaml", `unknown field "dada"`},
		{"apply --server-side -f m.yaml", "^namespace/n1 serverside-applied\nconfigmap/cm serverside-applied\nservice/svc serverside-applied\njob.batch/j serverside-applied\npod/p serverside-applied$"},
		{"-n n1 wait --for=condition=complete job/j --timeout=60s", "^job.batch/j condition met$"},
		{"-n n1 wait --for=condition=Ready pod/p --timeout=60s", "^pod/p condition met$"},
		{"-n n1 get all", "pod/j-0-POD 0/1 Completed 0 Ns(?s:.*)pod/p 1/1 Running 0 Ns(?s:.*)service/svc ClusterIP None <none> 80/TCP Ns(?s:.*)job.batch/j Complete 2/2 Ns Ns$"},
		{"-n n1 get configmap cm -o yaml", "^apiVersion: v1\ndata:\n a: \"1\"\nkind: ConfigMap\n"},
		{"-n n1 get job j -o json", `"succeeded": 2`},
		{"-n n1 get pods -o jsonpath={.items[*].metadata.name}", "^j-0-POD j-1-POD p$"},
		{"-n n1 get events", "pod/p Started container c"},
		{"-n n1 events --for pod/p", "Pod/p Successfully assigned n1/p"},
		{"-n n1 describe pod p", "Normal Started Ns kubelet Started container c"},
		{"-n n1 describe job j", "Completed Indexes: 0,1"},
		{"-n n1 describe service svc", "Port: <unset> 80/TCP"},
		{"-n n1 logs p", "^up$"},
		{"-n n1 logs -f -l batch.kubernetes.io/job-name=j --tail=-1", "^[01]\n[01]$"},
		{"-n n1 exec p -- sh -c id", "uid="},
		{"-n n1 label pod p a=b", "pod/p labeled"},
		{"-n n1 delete job j --wait", `job.batch "j" deleted`},
		{"-n n1 delete pod p --grace-period=1 --wait", `pod "p" deleted`},
		{"delete namespace n1", `namespace "n1" deleted`},
		{"get namespace n1", `namespaces "n1" not found`},
		{"rollout status deployment/x", "the server doesn't have a resource type"},
		{"get --raw /apis/apps/v1", "the sandbox does not serve GET /apis/apps/v1"},
	} {
		out, err := kubectl.run("", strings.Fields(c.args)...)
		if !regexp.MustCompile(c.want).MatchString(steady(out)) {
			t.Errorf("kubectl %s: %v: got\n%s\nwant %s", c.args, err, steady(out), c.want)
		}
	}
}
