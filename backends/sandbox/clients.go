package sandbox

import (
	"errors"
	"strconv"
	"strings"
)

// ErrInUse is in the error of a Start whose state folder another Server has.
var ErrInUse = errors.New("another sandbox uses it")

// Cloud is the name of the sandbox in the clouds.yaml that CloudsYAML writes.
const Cloud = "sandbox"

// CloudsYAML is a clouds.yaml that ordinary clients of OpenStack reach the sandbox with. It holds
// the password.
func (s *Server) CloudsYAML() []byte {
	return fill(cloudsYAML, "CLOUD", Cloud, "URL", s.URL(), "USER", User, "PASSWORD", s.keys.password, "REGION", s.cfg.Region)
}

// The versions are those that the clients' options need: tags of servers, policies of groups.
const cloudsYAML = `# Written by dlx. It holds the password of the sandbox.
clouds:
  <CLOUD>:
    auth:
      auth_url: <URL>
      username: <USER>
      password: <PASSWORD>
      project_name: sandbox
      user_domain_id: default
      project_domain_id: default
    region_name: <REGION>
    interface: public
    identity_api_version: 3
    compute_api_version: "2.79"
    image_api_version: 2
    network_api_version: 2
    baremetal_api_version: "1.72"
    container_infra_api_version: 1
`

// Testbed is the text of a testbed by which dlx runs on this sandbox as on any other cloud, with
// the files that CloudsYAML and Cluster gave. It holds no secret.
func (s *Server) Testbed(kubeconfig string) []byte {
	return fill(testbedCUE, "CLOUD", Cloud, "HOSTS", strconv.Itoa(s.cfg.Hosts), "PORT", strconv.Itoa(s.Port()), "KUBECONFIG", strconv.Quote(kubeconfig))
}

const testbedCUE = `// Written by dlx: the sandbox as any other cloud. OS_CLIENT_CONFIG_FILE says where its clouds.yaml is.
package testbeds

import "dlx.dev/dlx"

testbed: dlx.#Testbed & {
	name: "served"
	clouds: {
		openstack: {backend: "openstack", cloud: "<CLOUD>"}
		kubernetes: {backend: "kubernetes", kubeconfig: <KUBECONFIG>}
	}
	orchestrations: {
		bm: {
			cloud: "openstack"
			machine: {service: "ironic", resourceClass: "baremetal", image: "sandbox", user: "sandbox", sshPort: <PORT>}
			uses: hosts: 1
		}
		vm: {
			cloud: "openstack"
			machine: {flavor: "sandbox.small", image: "sandbox", network: "sandbox", user: "sandbox", sshPort: <PORT>}
			uses: {hosts: 1, instances: 1}
			beside: "machine"
		}
		// Nodes of a cluster of Magnum, which dlx makes.
		"container-on-vm": {
			cloud: "openstack"
			machine: {service: "magnum", clusterTemplate: "sandbox", pod: image: "sandbox"}
			uses: {hosts: 1, instances: 1}
		}
		// Nodes of the cluster that stands already. Those of a template "sandbox-metal" would be whole hosts.
		"container-on-bm": {
			cloud: "kubernetes"
			machine: image: "sandbox"
			uses: nodes: 1
		}
	}
	capacity: {hosts: <HOSTS>, instances: 10, nodes: <HOSTS>}
	limits: {provision: "10m", trial: "30m", attempts: 3}
}
`

// fill puts values in the place of their names in angle brackets.
func fill(text string, namesAndValues ...string) []byte {
	for i := 0; i < len(namesAndValues); i += 2 {
		namesAndValues[i] = "<" + namesAndValues[i] + ">"
	}
	return []byte(strings.NewReplacer(namesAndValues...).Replace(text))
}
