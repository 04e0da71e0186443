package backends

import "strings"

// SandboxFact is what a sandbox says of each machine, so that clients know it from a cloud: a
// metadatum of servers and a property of nodes. Kubernetes nodes say it by their runtime.
const (
	SandboxFact    = "sandbox.dlx.dev"
	SandboxRuntime = "sandbox://"
)

// OnSandbox reports whether the facts of a machine say that it is a process of a sandbox, whatever
// backend it was reached by.
func OnSandbox(facts map[string]string) bool {
	return facts["metadata."+SandboxFact] != "" || facts["properties."+SandboxFact] != "" || strings.HasPrefix(facts["node.runtime"], SandboxRuntime)
}
