package kubernetes_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/backendtest"
	"dlx.dev/dlx/backends/kubernetes"
)

// A simulated node with two devices, of which each process of a machine gets as many as it has GPUs,
// with the rights of rbac/devices.yaml; without one of them, a refusal that names it.
func TestEachVerbOfDevicesIsNeeded(t *testing.T) {
	kubeconfig := realCluster(t)
	class := devices(t, kubeconfig, "simulated1")
	spec := simulatedPod(t, func(p *kubernetes.Pod) {
		p.GPU, p.DeviceClass = "", class
		p.NodeSelector["kubernetes.io/hostname"] = "simulated1"
	})
	withoutEach(t, kubeconfig, spec, "rbac/devices.yaml", func(t *testing.T, b, admin *bed, ns, without string) {
		m := b.fleet("f", 1)[0]
		one := backends.Group{ID: "one", Machines: []backends.Machine{m}, Args: [][]string{simulated(60)}, GPUs: 1}
		err := b.l.Start(t.Context(), one)
		if without != "" {
			if want := refusalOf(without, "resourceclaimtemplates"); backends.ClassOf(err) != backends.Config || !strings.Contains(fmt.Sprint(err), want) {
				t.Errorf("got %s: %v; want it to say %q", backends.ClassOf(err), err, want)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := admin.allocated(ns); len(got) != 1 {
			t.Errorf("one process with a GPU has %q", got)
		}
		two := backends.Group{ID: "two", Machines: []backends.Machine{m}, Args: [][]string{simulated(0)}, GPUs: 2}
		if err := b.l.Start(t.Context(), two); backends.ClassOf(err) != backends.Capacity || !strings.Contains(fmt.Sprint(err), "cannot allocate all claims") {
			t.Errorf("two of which one is taken: got %s: %v", backends.ClassOf(err), err)
		}
		if err := b.l.Stop(t.Context(), m, "one-0", time.Second); err != nil {
			t.Fatal(err)
		}
		if err := b.l.Start(t.Context(), two); err != nil {
			t.Errorf("two when both are free: %v", err)
		}
		if _, err := b.l.Wait(t.Context(), m, "two-0"); err != nil {
			t.Error(err)
		}
		if err := b.Release(t.Context(), backends.Owner{Run: b.run}, &b.book); err != nil {
			t.Error(err)
		}
		for _, kind := range []string{"resourceclaims", "resourceclaimtemplates"} {
			var list struct{ Items []struct{} }
			if err := json.Unmarshal([]byte(admin.api(http.MethodGet, claims+"namespaces/"+ns+"/"+kind, "")), &list); err != nil || len(list.Items) > 0 {
				t.Errorf("after the release there are %d %s, %v", len(list.Items), kind, err)
			}
		}
	})
}

// withoutEach makes a check with the rights of rbac/namespace.yaml and the one rule of another file: with all
// of its verbs, and without each.
func withoutEach(t *testing.T, kubeconfig []byte, spec, file string, check func(t *testing.T, b, admin *bed, ns, without string)) {
	t.Helper()
	rule := readRole(t, file).Rules[0]
	for _, without := range append([]string{""}, rule.Verbs...) {
		t.Run(cmp.Or(without, "none")+" is missing", func(t *testing.T) {
			admin := newBed(t, kubeconfig, spec)
			user, ns := "user-"+admin.run, "dlx-rights-"+admin.run
			role, less := readRole(t, "rbac/namespace.yaml"), rule
			less.Verbs = slices.DeleteFunc(slices.Clone(rule.Verbs), func(v string) bool { return v == without })
			role.Rules = append(role.Rules, less)
			admin.grant(ns, user, role)
			check(t, newBedIn(t, as(t, kubeconfig, user), ns, spec), admin, ns, without)
		})
	}
}

const claims = "/apis/resource.k8s.io/v1/"

// simulated is a process of a simulated node that takes so many seconds.
func simulated(seconds float64) []string {
	return append([]string{"simulate"}, backendtest.Words(backendtest.Program{Sleep: seconds})...)
}

// simulatedPod gives a machine on simulated nodes that differs from the lab's; without such nodes the test is
// skipped, or fails where they are required.
func simulatedPod(t *testing.T, change func(*kubernetes.Pod)) string {
	t.Helper()
	spec := os.Getenv("DLX_TEST_SIMULATED_POD")
	if spec == "" {
		backendtest.Skip(t, "kubernetes/simulated", "DLX_TEST_SIMULATED_POD names no simulated nodes")
	}
	var p kubernetes.Pod
	if err := json.Unmarshal([]byte(spec), &p); err != nil {
		t.Fatal(err)
	}
	change(&p)
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// devices puts two devices on a node, as its driver would, and gives the class that has them alone.
func devices(t *testing.T, kubeconfig []byte, node string) string {
	t.Helper()
	admin := newBed(t, kubeconfig, "")
	name := "dlx-test-" + admin.run
	for kind, object := range map[string]any{
		"deviceclasses": map[string]any{"metadata": map[string]any{"name": name},
			"spec": map[string]any{"selectors": []any{map[string]any{"cel": map[string]any{"expression": fmt.Sprintf("device.driver == %q", name+".local")}}}}},
		"resourceslices": map[string]any{"metadata": map[string]any{"name": name},
			"spec": map[string]any{"driver": name + ".local", "nodeName": node, "pool": map[string]any{"name": node, "generation": 1, "resourceSliceCount": 1},
				"devices": []any{map[string]any{"name": "gpu-0"}, map[string]any{"name": "gpu-1"}}}},
	} {
		body, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		admin.api(http.MethodPost, claims+kind, string(body))
	}
	t.Cleanup(func() {
		for _, kind := range []string{"deviceclasses", "resourceslices"} {
			admin.delete(claims + kind + "/" + name)
		}
	})
	return name
}

// delete removes an object as the administrator, also when the test has ended.
func (b *bed) delete(path string) {
	b.t.Helper()
	b.request(context.WithoutCancel(b.t.Context()), http.MethodDelete, path, "{}")
}

// allocated lists the devices of a namespace's claims.
func (b *bed) allocated(ns string) []string {
	b.t.Helper()
	var list struct {
		Items []struct {
			Status struct {
				Allocation struct {
					Devices struct{ Results []struct{ Device string } }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(b.api(http.MethodGet, claims+"namespaces/"+ns+"/resourceclaims", "")), &list); err != nil {
		b.t.Fatal(err)
	}
	var out []string
	for _, i := range list.Items {
		for _, r := range i.Status.Allocation.Devices.Results {
			out = append(out, r.Device)
		}
	}
	return out
}
