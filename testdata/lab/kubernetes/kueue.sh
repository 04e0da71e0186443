# Kueue, and a queue "bench" of 2 CPUs in the namespace "default"; sourced by start.sh. Of its webhooks
# only those of Jobs, of JobSets and of its own objects are called.
crds "$lab/kueue" sigs.k8s.io/kueue
served() { get "$server/apis/kueue.x-k8s.io/v1beta2" | grep '"workloads"' >/dev/null && get "$server/apis/kueue.x-k8s.io/v1beta2" | grep '"localqueues"' >/dev/null; }
await kube-apiserver served

# It looks for the certificate of its metrics, which nobody reads, in a folder below /etc and nowhere else.
etc=$run/kueue/etc certs=$run/kueue/certs
mkdir -p "$etc/kueue/metrics/certs" "$certs"
for d in "$etc/kueue/metrics/certs" "$certs"; do
  cp "$pki/kubelet.crt" "$d/tls.crt"
  cp "$pki/kubelet.key" "$d/tls.key"
done
cat >"$run/kueue/config.yaml" <<END
apiVersion: config.kueue.x-k8s.io/v1beta2
kind: Configuration
namespace: kueue-system # in which it looks at no Job
health: {healthProbeBindAddress: "$at:8081"}
metrics: {bindAddress: "0"}
webhook: {host: "$at", port: 9443, certDir: $certs}
leaderElection: {leaderElect: false}
internalCertManagement: {enable: false}
integrations: {frameworks: ["batch/job"${LAB_JOBSET:+, "jobset.x-k8s.io/jobset"}]}
featureGates: {VisibilityOnDemand: false}
END
daemon kueue unshare --user --map-root-user --mount sh -c 'mount --bind "$1" /etc && shift && exec "$@"' sh "$etc" \
  "$bin/kueue" --config "$run/kueue/config.yaml" --kubeconfig "$pki/admin.kubeconfig"
await kueue get "http://$at:8081/readyz"

hooked=()
for r in "batch v1 jobs" ${LAB_JOBSET:+"jobset.x-k8s.io v1alpha2 jobsets"}; do # what it admits it suspends when it is made, and not when it starts
  hooked+=("mutate $r CREATE" "validate $r CREATE,UPDATE")
done
for r in "kueue.x-k8s.io v1beta2 "{clusterqueues,resourceflavors,workloads}; do
  hooked+=("mutate $r CREATE,UPDATE" "validate $r CREATE,UPDATE")
done
hooks kueue 9443 "${hooked[@]}"

queues=apis/kueue.x-k8s.io/v1beta2
apply $queues/resourceflavors/any <<<'{"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "ResourceFlavor", "metadata": {"name": "any"}}'
apply $queues/clusterqueues/all <<'END'
apiVersion: kueue.x-k8s.io/v1beta2
kind: ClusterQueue
metadata: {name: all}
spec:
  namespaceSelector: {}
  resourceGroups: [{coveredResources: [cpu], flavors: [{name: any, resources: [{name: cpu, nominalQuota: 2}]}]}]
END
apply "$queues/namespaces/default/localqueues/$LAB_QUEUE" <<<'{"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "LocalQueue", "metadata": {"name": "'"$LAB_QUEUE"'"}, "spec": {"clusterQueue": "all"}}'
