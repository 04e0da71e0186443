package kubernetes_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/kubernetes"
	"dlx.dev/dlx/backends/sandbox"
)

// places is a fleet of equal machines.
func places(machines int, pod string, l backends.Load) backends.Need {
	n := backends.Need{Fleet: "f"}
	for i := range machines {
		n.Machines = append(n.Machines, backends.MachineRequest{Name: fmt.Sprint("m", i), Spec: json.RawMessage(pod)})
		n.Loads = append(n.Loads, l)
	}
	return n
}

func standing(n backends.Need, h backends.Hosts) backends.Need {
	n.Hosts = h
	return n
}

const (
	plain = `{"image": "sandbox"}`
	ready = `"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"cpu": "8", "memory": "16Gi", "nvidia.com/gpu": "4"}`
	two   = `{"kind": "NodeList", "apiVersion": "v1", "items": [
		{"metadata": {"name": "a", "labels": {"gpu": "a100", "rack": "1"}}, "spec": {"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]}, "status": {` + ready + `}},
		{"metadata": {"name": "b", "labels": {"gpu": "v100", "rack": "1"}}, "status": {` + ready + `}}]}`
	role = "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
)

func TestCheck(t *testing.T) {
	one := backends.Load{Processes: 1}
	for _, c := range []struct {
		name  string
		ns    string
		run   string // that may have some of it
		nodes string // the answer; empty: those of the sandbox
		cloud func(*sandbox.Faults)
		needs []backends.Need
		want  []string
	}{
		{name: "everything fits", needs: []backends.Need{places(2, plain, one), standing(places(2, plain, one), backends.DifferentHosts)}},
		{name: "in a namespace", ns: "default", needs: []backends.Need{places(2, plain, one)}},
		{name: "nothing is asked for"},
		{name: "a spec that is none", needs: []backends.Need{places(1, `{}`, one)}, want: []string{"0 -1 : image is missing"}},
		{name: "a label that no node has", nodes: two, needs: []backends.Need{places(1, `{"image": "x", "nodeSelector": {"gpus": "a100"}}`, one)}, want: []string{
			`0 -1 nodeSelector: no node has a label "gpus" (known: gpu, rack; did you mean "gpu"?)`}},
		{name: "a value that no node has", nodes: two, needs: []backends.Need{places(1, `{"image": "x", "nodeSelector": {"gpu": "h100"}}`, one)}, want: []string{
			`0 -1 nodeSelector: no node has label gpu="h100" (known: a100, v100; did you mean "a100"?)`}},
		{name: "a taint", nodes: two, needs: []backends.Need{places(1, `{"image": "x", "nodeSelector": {"gpu": "a100"}}`, one)}, want: []string{
			`0 -1 tolerations: no node takes its pods (a: taint gpu=yes:NoSchedule, which no toleration names)`}},
		{name: "a taint that is tolerated", nodes: two, needs: []backends.Need{
			places(1, `{"image": "x", "nodeSelector": {"gpu": "a100"}, "tolerations": [{"key": "gpu", "operator": "Exists"}]}`, one),
			places(1, `{"image": "x", "nodeSelector": {"gpu": "a100"}, "tolerations": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]}`, one)}},
		{name: "GPUs", nodes: two, needs: []backends.Need{places(1, plain, backends.Load{Processes: 1, GPUs: 8})}, want: []string{
			`0 -1 gpu: the processes of a trial take 8 of nvidia.com/gpu on a machine, and no node that fits has more than 4`}},
		{name: "GPUs of another name", nodes: two, needs: []backends.Need{places(1, `{"image": "x", "gpu": "amd.com/gpu"}`, backends.Load{Processes: 1, GPUs: 1})}, want: []string{
			`0 -1 gpu: the processes of a trial take 1 of amd.com/gpu on a machine, and no node that fits has more than 0`,
			`-1 -1 : the plan takes 1 of amd.com/gpu at once and the cluster has 0: trials will wait for each other; the testbed's capacity can say so (warning)`}},
		{name: "devices of a class", nodes: two, cloud: func(f *sandbox.Faults) {
			f.Fail("GET /apis/resource.k8s.io/v1/deviceclasses/gpu.nvidia.com", http.StatusOK, `{"metadata": {"name": "gpu.nvidia.com"}}`, 1)
			f.Fail(role, http.StatusCreated, `{"status": {"allowed": true}}`, 99)
		}, needs: []backends.Need{places(1, `{"image": "x", "deviceClass": "gpu.nvidia.com"}`, backends.Load{Processes: 1, GPUs: 8})}},
		{name: "a class of devices that the cluster does not have", nodes: two, cloud: func(f *sandbox.Faults) {
			f.Fail("GET /apis/resource.k8s.io/v1/deviceclasses", http.StatusOK, `{"items": [{"metadata": {"name": "gpu.nvidia.com"}}]}`, 1)
		}, needs: []backends.Need{places(1, `{"image": "x", "deviceClass": "gpu.nvidea.com"}`, backends.Load{Processes: 1, GPUs: 8})}, want: []string{
			`0 -1 deviceClass: the cluster has no device class "gpu.nvidea.com" (known: gpu.nvidia.com)`}},
		{name: "CPUs and memory", nodes: two, needs: []backends.Need{places(1, plain, backends.Load{Processes: 1, CPUs: 9}), places(1, plain, backends.Load{Processes: 1, MemoryMiB: 1 << 20})}, want: []string{
			`0 -1 : the processes of a trial take 9 CPUs on a machine, and no node that fits has more than 8`,
			`1 -1 : the processes of a trial take 1048576 MiB of memory on a machine, and no node that fits has more than 16384`}},
		{name: "machines on one node", nodes: two, needs: []backends.Need{standing(places(3, plain, backends.Load{Processes: 1, CPUs: 4}), backends.SameHost)}, want: []string{
			`0 -1 : the processes of a trial take 12 CPUs on 3 machines on one node, and no node that fits has more than 8`}},
		{name: "machines on different nodes", nodes: two, needs: []backends.Need{standing(places(2, plain, backends.Load{Processes: 1, GPUs: 4}), backends.DifferentHosts)}, want: []string{
			`0 -1 : 2 nodes are needed, for no two machines of f may share one, and 1 fit`}},
		{name: "more GPUs at once than there are", nodes: two, needs: []backends.Need{places(2, plain, backends.Load{Processes: 1, GPUs: 4}), places(1, plain, backends.Load{Processes: 1, GPUs: 4})}, want: []string{
			`-1 -1 : the plan takes 12 of nvidia.com/gpu at once and the cluster has 8: trials will wait for each other; the testbed's capacity can say so (warning)`}},
		{name: "nodes that are cordoned or not ready", nodes: strings.NewReplacer(`"spec": {"taints"`, `"spec": {"unschedulable": true, "taints"`, `"v100", "rack": "1"}}, "status": {"conditions": [{"type": "Ready", "status": "True"`,
			`"v100", "rack": "1"}}, "status": {"conditions": [{"type": "Ready", "status": "False"`).Replace(two), needs: []backends.Need{places(1, plain, one)}, want: []string{
			`0 -1 tolerations: no node takes its pods (a: it is cordoned; b: it is not ready)`}},
		{name: "no node", nodes: `{"kind": "NodeList", "apiVersion": "v1", "items": []}`, needs: []backends.Need{places(1, plain, one)}, want: []string{`0 -1 : the cluster has no node`}},
		{name: "nodes that may not be seen", cloud: func(f *sandbox.Faults) {
			f.Fail("GET /api/v1/nodes", http.StatusForbidden, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403, "reason": "Forbidden", "message": "nodes is forbidden: User \"bench\" cannot list resource \"nodes\""}`, 9)
		}, needs: []backends.Need{places(9, plain, backends.Load{GPUs: 99})}},

		{name: "what is in a namespace", ns: "default", needs: []backends.Need{places(1, `{"image": "x", "pullSecret": "registry", "serviceAccount": "bench", "runtimeClass": "kata", "scratch": {"claim": "s"}, "mounts": [{"path": "/d", "claim": "d"}]}`, one)}, want: []string{
			`0 -1 scratch.claim: the cluster has no claim "s" (none is known)`,
			`0 -1 mounts[0].claim: the cluster has no claim "d" (none is known)`,
			`0 -1 pullSecret: the cluster has no secret "registry" (none is known)`,
			`0 -1 serviceAccount: the cluster has no service account "bench" (known: default)`,
			`0 -1 runtimeClass: the cluster has no runtime class "kata"`}},
		{name: "a queue that is not there", ns: "default", cloud: func(f *sandbox.Faults) {
			f.Fail("GET /apis/kueue.x-k8s.io/v1beta1/namespaces/default/localqueues", http.StatusOK, `{"items": [{"metadata": {"name": "batch"}}, {"metadata": {"name": "night"}}]}`, 1)
		}, needs: []backends.Need{places(1, `{"image": "x", "queue": "bench"}`, one)}, want: []string{`0 -1 queue: the cluster has no LocalQueue "bench" (known: batch, night)`}},
		{name: "a queue in no namespace", needs: []backends.Need{places(1, `{"image": "x", "queue": "bench"}`, one)}, want: []string{
			`0 -1 queue: LocalQueue "bench" is in no namespace that a run makes for itself: name one in which it is, by "namespace" of the cloud`}},
		{name: "what is in no namespace", needs: []backends.Need{places(1, `{"image": "x", "scratch": {"claim": "s"}}`, one)}, want: []string{
			`0 -1 scratch.claim: claim "s" is in no namespace that a run makes for itself: name one in which it is, by "namespace" of the cloud`}},

		{name: "pods that the namespace does not take", ns: "default", cloud: func(f *sandbox.Faults) {
			f.Fail("POST /api/v1/namespaces/default/pods", http.StatusForbidden, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403, "reason": "Forbidden", "message": "pods \"dlx-check-x\" is forbidden: violates PodSecurity \"baseline:latest\": hostPath volumes (volume \"scratch\")"}`, 1)
		}, needs: []backends.Need{places(1, plain, one)}, want: []string{
			`0 -1 : namespace "default" refuses its pods: pods "dlx-check-x" is forbidden: violates PodSecurity "baseline:latest": hostPath volumes (volume "scratch"): with "user" and a claim for "scratch" they meet every level, but for what else the machine asks for`}},
		{name: "what asks another question", ns: "default", cloud: func(f *sandbox.Faults) {
			f.Fail("POST /api/v1/namespaces/default/pods", http.StatusForbidden, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403, "reason": "Forbidden", "message": "pods is forbidden: User \"bench\" cannot create resource \"pods\""}`, 1)
			f.Fail("POST /api/v1/namespaces/default/pods", http.StatusForbidden, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403, "reason": "Forbidden", "message": "pods \"x\" is forbidden: exceeded quota: few, requested: pods=1"}`, 1)
			f.Fail("POST /api/v1/namespaces/default/pods", http.StatusBadRequest, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 400, "reason": "BadRequest", "message": "admission webhook \"x\" does not support dry run"}`, 1)
		}, needs: []backends.Need{places(1, plain, one), places(1, plain, one), places(1, plain, one)}},
		{name: "a limit that the namespace sets", ns: "default", cloud: func(f *sandbox.Faults) {
			f.Fail("POST /api/v1/namespaces/default/pods", http.StatusCreated, `{"kind": "Pod", "apiVersion": "v1", "spec": {"containers": [{"name": "holder", "resources": {"limits": {"cpu": "500m"}}}]}}`, 1)
			f.Fail("POST /api/v1/namespaces/default/pods", http.StatusCreated, `{"kind": "Pod", "apiVersion": "v1", "metadata": {"annotations": {"kubernetes.io/limit-ranger": "LimitRanger plugin set: cpu limit for container process"}},
				"spec": {"containers": [{"name": "process", "resources": {"limits": {"cpu": "500m"}}}]}}`, 1)
		}, needs: []backends.Need{places(1, plain, one)}, want: []string{
			`0 -1 : namespace "default" changes the pods of its processes: CPU limit 500m where the study asks for none (LimitRanger plugin set: cpu limit for container process): what is measured would be throttled; say cpus for the role, or take the limit away`}},

		{name: "no right", ns: "default", cloud: func(f *sandbox.Faults) { f.Fail(role, http.StatusCreated, `{"status": {"allowed": false}}`, 99) }, needs: []backends.Need{places(1, plain, one)}, want: []string{
			`-1 -1 namespace: the login may not create, get, list, watch, patch, delete pods in namespace "default": grant it these verbs`,
			`-1 -1 namespace: the login may not create, get pods/exec in namespace "default": grant it these verbs`,
			`-1 -1 namespace: the login may not create, get, list, patch, delete configmaps in namespace "default": grant it these verbs`,
			`-1 -1 namespace: the login may not create, get, list, patch services in namespace "default": grant it these verbs`,
			`-1 -1 namespace: the login may not list, watch events in namespace "default": grant it these verbs`,
			`-1 -1 namespace: the login may not create, get, list, delete jobs in namespace "default": grant it these verbs`}},
		{name: "no namespace, and no right to make it", ns: "bench", cloud: func(f *sandbox.Faults) { f.Fail(role, http.StatusCreated, `{"status": {"allowed": false}}`, 99) }, needs: []backends.Need{places(1, plain, one)}, want: []string{
			`-1 -1 namespace: the login may not create, get, delete namespaces, and namespace "bench" is not there: grant it these verbs`}},
		{name: "a quota", ns: "default", cloud: func(f *sandbox.Faults) {
			f.Fail("GET /api/v1/namespaces/default/resourcequotas", http.StatusOK, `{"kind": "ResourceQuotaList", "apiVersion": "v1", "items": [{"metadata": {"name": "few"},
				"status": {"hard": {"pods": "4", "requests.nvidia.com/gpu": "1", "requests.cpu": "100", "limits.memory": "1Gi"}, "used": {"pods": "1"}}}]}`, 9)
		}, nodes: two, needs: []backends.Need{places(2, plain, backends.Load{Processes: 1, CPUs: 1, GPUs: 1, MemoryMiB: 1024})}, want: []string{
			`-1 -1 namespace: the plan takes 2Gi of limits.memory at once, quota "few" of namespace "default" allows 1Gi and 0 are in use: raise it, or bound by the testbed's capacity what is up at once`,
			`-1 -1 namespace: the plan takes 4 of pods at once, quota "few" of namespace "default" allows 4 and 1 are in use: raise it, or bound by the testbed's capacity what is up at once`,
			`-1 -1 namespace: the plan takes 2 of requests.nvidia.com/gpu at once, quota "few" of namespace "default" allows 1 and 0 are in use: raise it, or bound by the testbed's capacity what is up at once`}},
		{name: "a quota that the run fills in part", ns: "default", run: "r1", cloud: func(f *sandbox.Faults) {
			f.Fail("GET /api/v1/namespaces/default/resourcequotas", http.StatusOK, `{"kind": "ResourceQuotaList", "apiVersion": "v1", "items": [{"metadata": {"name": "few"},
				"status": {"hard": {"pods": "4", "requests.nvidia.com/gpu": "2", "requests.cpu": "2", "limits.memory": "3Gi"}, "used": {"pods": "4", "requests.nvidia.com/gpu": "1", "requests.cpu": "2", "limits.memory": "2Gi"}}}]}`, 9)
			const process = `"spec": {"containers": [{"resources": {"requests": {"cpu": "1", "nvidia.com/gpu": "1"}, "limits": {"memory": "1Gi"}}}]}`
			f.Fail("GET /api/v1/namespaces/default/pods", http.StatusOK, `{"kind": "PodList", "apiVersion": "v1", "items": [{"metadata": {"name": "holder"}},
				{"metadata": {"name": "process"}, `+process+`, "status": {"phase": "Running"}}, {"metadata": {"name": "done"}, `+process+`, "status": {"phase": "Succeeded"}}]}`, 9)
		}, nodes: two, needs: []backends.Need{places(2, plain, backends.Load{Processes: 1, CPUs: 1, GPUs: 1, MemoryMiB: 1024})}, want: []string{
			`-1 -1 namespace: the plan takes 4 of pods at once, quota "few" of namespace "default" allows 4 and 2 are in use: raise it, or bound by the testbed's capacity what is up at once`,
			`-1 -1 namespace: the plan takes 2 of requests.cpu at once, quota "few" of namespace "default" allows 2 and 1 are in use: raise it, or bound by the testbed's capacity what is up at once`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			faults := &sandbox.Faults{}
			check := checker(t, c.ns, faults)
			if c.nodes != "" {
				faults.Fail("GET /api/v1/nodes", http.StatusOK, c.nodes, 9)
			}
			if c.cloud != nil {
				c.cloud(faults)
			}
			found, err := check.Check(t.Context(), c.run, c.needs)
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
			if c.ns == "bench" { // the other rights are those of "no right"
				got = got[len(got)-1:]
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// checker is a backend over a cluster of the sandbox with two nodes.
func checker(t *testing.T, ns string, faults *sandbox.Faults) backends.Checker {
	t.Helper()
	b, err := kubernetes.NewBackend(sandboxCluster(t, faults), ns, kubernetes.Options{Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return b.Provider.(backends.Checker)
}

// A cluster that cannot be asked is an error with its class.
func TestCheckOfNoCluster(t *testing.T) {
	faults := &sandbox.Faults{}
	check := checker(t, "", faults)
	faults.Fail("GET /api/v1/nodes", http.StatusServiceUnavailable, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 503, "message": "starting"}`, 99)
	if _, err := check.Check(t.Context(), "", []backends.Need{places(1, plain, backends.Load{})}); backends.ClassOf(err) != backends.Transport {
		t.Errorf("got %v (%s); want class transport", err, backends.ClassOf(err))
	}
}
