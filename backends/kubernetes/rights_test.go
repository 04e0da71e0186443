package kubernetes

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// What a check asks for is what the roles give.
func TestRightsAreThoseOfTheRoles(t *testing.T) {
	for file, rights := range map[string][]right{"rbac/namespace.yaml": rightsInside, "rbac/cluster.yaml": append([]right{rightsToNamespaces}, rightsInside...), "rbac/devices.yaml": {rightsToDevices}, "rbac/jobset.yaml": {rightsToJobSets}} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var role rbacv1.ClusterRole
		if err := yaml.UnmarshalStrict(text, &role); err != nil {
			t.Fatal(err)
		}
		given, asked := map[string][]string{}, map[string][]string{}
		for _, r := range role.Rules {
			for _, name := range r.Resources {
				if name != "nodes" {
					given[r.APIGroups[0]+"/"+name] = r.Verbs
				}
			}
		}
		for _, r := range rights {
			name := r.group + "/" + r.resource
			if r.sub != "" {
				name += "/" + r.sub
			}
			asked[name] = r.verbs
		}
		if diff := cmp.Diff(given, asked); diff != "" {
			t.Errorf("%s (-given +asked):\n%s", file, diff)
		}
	}
}
