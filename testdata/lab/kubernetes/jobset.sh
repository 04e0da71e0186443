# JobSet's controller; sourced by start.sh. Of its webhooks those of JobSets are called, not those of pods:
# they are for its exclusive placement, and called for every pod of the cluster.
crds "$lab/jobset" sigs.k8s.io/jobset
served() { get "$server/apis/jobset.x-k8s.io/v1alpha2" | grep '"jobsets"' >/dev/null; }
await kube-apiserver served
mkdir -p "$run/jobset/certs"
cp "$pki/kubelet.crt" "$run/jobset/certs/tls.crt"
cp "$pki/kubelet.key" "$run/jobset/certs/tls.key"
cat >"$run/jobset/config.yaml" <<END
apiVersion: config.jobset.x-k8s.io/v1alpha1
kind: Configuration
health: {healthProbeBindAddress: "$at:8082"}
metrics: {bindAddress: "0"}
webhook: {host: "$at", port: 9444, certDir: $run/jobset/certs}
leaderElection: {leaderElect: false}
internalCertManagement: {enable: false}
clientConnection: {qps: 500, burst: 500}
END
daemon jobset "$bin/jobset" --config "$run/jobset/config.yaml" --kubeconfig "$pki/admin.kubeconfig"
await jobset get "http://$at:8082/readyz"
hooks jobset 9444 "mutate jobset.x-k8s.io v1alpha2 jobsets CREATE" "validate jobset.x-k8s.io v1alpha2 jobsets CREATE,UPDATE"
