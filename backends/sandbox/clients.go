package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	texttemplate "text/template"
)

// ErrInUse is in the error of a Start whose state folder another Server has.
var ErrInUse = errors.New("another sandbox uses it")

// Cloud is the name of the sandbox in the clouds.yaml that CloudsYAML writes.
const Cloud = "sandbox"

// CloudsYAML is a clouds.yaml that ordinary clients of OpenStack reach the sandbox with. It holds
// the password.
func (s *Server) CloudsYAML() []byte {
	return fill(cloudsYAML, map[string]any{"cloud": Cloud, "url": s.URL(), "user": User, "password": s.password, "region": Region})
}

// The versions keep clients from asking each service for its own.
var cloudsYAML = texttemplate.Must(texttemplate.New("").Parse(`# Written by dlx. It holds the password of the sandbox.
clouds:
  {{.cloud}}:
    auth:
      auth_url: {{.url}}
      username: {{.user}}
      password: {{.password}}
      project_name: sandbox
      user_domain_id: default
      project_domain_id: default
    region_name: {{.region}}
    interface: public
    identity_api_version: 3
    compute_api_version: "2.79"
    image_api_version: 2
    network_api_version: 2
    baremetal_api_version: "1.72"
    container_infra_api_version: 1
`))

// Testbed is the text of a testbed by which dlx runs on this sandbox as on any other cloud, with
// the files that CloudsYAML and Cluster gave. It holds no secret.
func (s *Server) Testbed(kubeconfig string) []byte {
	return fill(testbedCUE, map[string]any{"cloud": Cloud, "hosts": s.cfg.Hosts, "port": s.Port(), "kubeconfig": fmt.Sprintf("%q", kubeconfig)})
}

var testbedCUE = texttemplate.Must(texttemplate.New("").Parse(`// Written by dlx: the sandbox as any other cloud. OS_CLIENT_CONFIG_FILE says where its clouds.yaml is.
package testbeds

import "dlx.dev/dlx"

testbed: dlx.#Testbed & {
	name: "served"
	clouds: {
		openstack: {backend: "openstack", cloud: "{{.cloud}}"}
		kubernetes: {backend: "kubernetes", kubeconfig: {{.kubeconfig}}}
	}
	orchestrations: {
		bm: {
			cloud: "openstack"
			machine: {service: "ironic", resourceClass: "baremetal", image: "sandbox", user: "sandbox", sshPort: {{.port}}}
			uses: hosts: 1
		}
		vm: {
			cloud: "openstack"
			machine: {flavor: "sandbox.small", image: "sandbox", network: "sandbox", user: "sandbox", sshPort: {{.port}}}
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
	capacity: {hosts: {{.hosts}}, instances: 10, nodes: {{.hosts}}}
	limits: {provision: "10m", trial: "30m", attempts: 3}
}
`))

func fill(t *texttemplate.Template, values map[string]any) []byte {
	var b bytes.Buffer
	if err := t.Execute(&b, values); err != nil {
		panic(err) // the template and its values stand above
	}
	return b.Bytes()
}
