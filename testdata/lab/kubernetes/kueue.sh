# Kueue, and a queue "bench" of 2 CPUs in the namespace "default"; sourced by start.sh. Of its webhooks
# only those of Jobs and of its own objects are called.
crds=$(cd "$lab/kueue" && go list -m -f '{{.Dir}}' sigs.k8s.io/kueue)/config/components/crd/bases
apply() { # PATH: what stands on standard input, by server-side apply
  curl -sf --noproxy '*' --cacert "$pki/ca.crt" --cert "$pki/admin.crt" --key "$pki/admin.key" -o /dev/null \
    -X PATCH -H 'Content-Type: application/apply-patch+yaml' --data-binary @- "$server/$1?fieldManager=lab&force=true"
}
for f in "$crds"/*.yaml; do # GROUP_RESOURCE.yaml
  f=${f##*/} f=${f%.yaml}
  apply "apis/apiextensions.k8s.io/v1/customresourcedefinitions/${f#*_}.${f%%_*}" <"$crds/$f.yaml"
done
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
integrations: {frameworks: ["batch/job"]}
featureGates: {VisibilityOnDemand: false}
END
daemon kueue unshare --user --map-root-user --mount sh -c 'mount --bind "$1" /etc && shift && exec "$@"' sh "$etc" \
  "$bin/kueue" --config "$run/kueue/config.yaml" --kubeconfig "$pki/admin.kubeconfig"
await kueue get "http://$at:8081/readyz"

hook() { # VERB GROUP VERSION RESOURCE OPERATIONS
  local path=$2
  [ "$path" = batch ] && path=batch-$3-job || path=${path//./-}-$3-${4%s}
  cat <<END
- name: $1-${4%s}.lab.local
  admissionReviewVersions: [v1]
  sideEffects: None
  clientConfig: {url: "https://$at:9443/$1-$path", caBundle: $(base64 -w0 "$pki/ca.crt")}
  rules: [{apiGroups: [$2], apiVersions: [$3], resources: [$4], operations: [$5]}]
END
}
for verb in mutate validate; do
  kind=MutatingWebhookConfiguration
  [ $verb = mutate ] || kind=ValidatingWebhookConfiguration
  {
    printf 'apiVersion: admissionregistration.k8s.io/v1\nkind: %s\nmetadata: {name: kueue}\nwebhooks:\n' "$kind"
    hook $verb batch v1 jobs "CREATE$([ $verb = mutate ] || echo ', UPDATE')"
    for r in clusterqueues resourceflavors workloads; do hook $verb kueue.x-k8s.io v1beta2 $r "CREATE, UPDATE"; done
  } | apply "apis/admissionregistration.k8s.io/v1/${kind,,}s/kueue"
done

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
