#!/usr/bin/env bash
# Starts the cluster. What runs already is left alone.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
for c in curl ${LAB_NODES:+containerd runc ctr ip iptables nsenter unshare}; do
  command -v $c >/dev/null || { echo "$c is missing; Debian: apt-get install containerd runc containernetworking-plugins curl iproute2 iptables" >&2; exit 1; }
done
[ -z "$LAB_NODES" ] || [ -x "$LAB_CNI/bridge" ] || { echo "$LAB_CNI/bridge is missing; Debian: apt-get install containernetworking-plugins" >&2; exit 1; }
[ -x "$bin/kube" ] || { echo "build.sh first" >&2; exit 1; }

if [ -n "$LAB_NODES" ] && [ -z "${LAB_INSIDE:-}" ]; then
  netns up
  # The link over which this computer reaches the API server, and nothing else.
  ip link show "$LAB_NAME" >/dev/null 2>&1 || {
    ip link add "$LAB_NAME" type veth peer name link0 netns "$LAB_NAME"
    ip addr add "$LAB_LINK.1/30" dev "$LAB_NAME"
    ip link set "$LAB_NAME" up
    ip -n "$LAB_NAME" addr add "$LAB_LINK.2/30" dev link0
    ip -n "$LAB_NAME" link set link0 up
  }
  LAB_INSIDE=1 netns in "$lab/start.sh"
  exit
fi

mkdir -p "$run/log" "$run/pid"
began=$(date +%s%N) said=
say() { printf '%6d ms  %s\n' $((($(date +%s%N) - began) / 1000000)) "$*"; }
daemon() { # NAME COMMAND...
  local name=$1
  shift
  alive "$name" && return
  setsid nohup "$@" >>"$run/log/$name.log" 2>&1 </dev/null &
  echo $! >"$run/pid/$name"
}
await() { # NAME COMMAND...: until the command succeeds
  local name=$1 end=$((SECONDS + 180))
  shift
  until "$@" >/dev/null 2>&1; do
    # Before it is what it will be, it is a shell for a moment.
    [ -d "/proc/$(pid "$name")" ] && [ $SECONDS -lt $end ] || { echo "$name is not ready; its log ends with:" >&2; tail -5 "$run/log/$name.log" >&2; exit 1; }
    sleep 0.1
  done
  [ "$said" = "$name" ] || say "$name is ready" # once for all nodes of kwok
  said=$name
}
pki=$run/pki
server=https://$at:6443
# Inside its network namespace the lab has a loopback of its own.
lo=127.0.0.1
[ -n "$LAB_NODES" ] || lo=$LAB_LOOPBACK
get() { curl -sf --noproxy '*' --cacert "$pki/ca.crt" --cert "$pki/admin.crt" --key "$pki/admin.key" "$@"; }
# What controllers beside those of Kubernetes take.
apply() { # PATH: what stands on standard input, by server-side apply
  get -o /dev/null -X PATCH -H 'Content-Type: application/apply-patch+yaml' --data-binary @- "$server/$1?fieldManager=lab&force=true"
}
crds() { # FOLDER MODULE: the kinds that a module of the folder's go.mod defines
  local f dir
  dir=$(cd "$1" && go list -m -f '{{.Dir}}' "$2")/config/components/crd/bases
  for f in "$dir"/*.yaml; do # GROUP_RESOURCE.yaml
    f=${f##*/} f=${f%.yaml}
    apply "apis/apiextensions.k8s.io/v1/customresourcedefinitions/${f#*_}.${f%%_*}" <"$dir/$f.yaml"
  done
}
hooks() { # NAME PORT "VERB GROUP VERSION RESOURCE OPERATIONS"...: its webhooks, VERB is mutate or validate
  local name=$1 port=$2 of kind verb group version resource operations path
  shift 2
  for of in mutate validate; do
    kind=MutatingWebhookConfiguration
    [ $of = mutate ] || kind=ValidatingWebhookConfiguration
    {
      printf 'apiVersion: admissionregistration.k8s.io/v1\nkind: %s\nmetadata: {name: %s}\nwebhooks:\n' "$kind" "$name"
      printf '%s\n' "$@" | while read -r verb group version resource operations; do
        [ "$verb" = $of ] || continue
        path=${group//./-}-$version-${resource%s}
        cat <<END
- name: $verb-${resource%s}.$name.lab.local
  admissionReviewVersions: [v1]
  sideEffects: None
  clientConfig: {url: "https://$at:$port/$verb-$path", caBundle: $(base64 -w0 "$pki/ca.crt")}
  rules: [{apiGroups: [$group], apiVersions: [$version], resources: [$resource], operations: [$operations]}]
END
      done
    } | apply "apis/admissionregistration.k8s.io/v1/${kind,,}s/$name"
  done
}
addrs=$at
i=0
for n in $LAB_NODES; do addrs+=,$LAB_NET.0.$((++i)); done
"$bin/kube" pki -dir "$pki" -server "$server" -nodes "${LAB_NODES// /,}" -ips "$addrs"

daemon etcd "$bin/etcd" --data-dir "$run/etcd" --log-level warn --unsafe-no-fsync \
  --listen-client-urls "http://$lo:2379" --advertise-client-urls "http://$lo:2379" \
  --listen-peer-urls "http://$lo:2380" --initial-advertise-peer-urls "http://$lo:2380" --initial-cluster "default=http://$lo:2380"
await etcd get "http://$lo:2379/health"

daemon kube-apiserver "$bin/kube-apiserver" --etcd-servers "http://$lo:2379" \
  --bind-address "$at" --endpoint-reconciler-type none --service-cluster-ip-range 10.96.0.0/16 \
  --client-ca-file "$pki/ca.crt" --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" \
  --service-account-issuer https://kubernetes.default.svc \
  --service-account-key-file "$pki/sa.pub" --service-account-signing-key-file "$pki/sa.key" \
  --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
  --kubelet-certificate-authority "$pki/ca.crt" --kubelet-preferred-address-types InternalIP \
  --kubelet-client-certificate "$pki/apiserver-to-kubelet.crt" --kubelet-client-key "$pki/apiserver-to-kubelet.key"
await kube-apiserver get "$server/readyz"

daemon kube-controller-manager "$bin/kube-controller-manager" --kubeconfig "$pki/controller-manager.kubeconfig" \
  --authentication-kubeconfig "$pki/controller-manager.kubeconfig" --authentication-skip-lookup \
  --authorization-kubeconfig "$pki/controller-manager.kubeconfig" --bind-address "$lo" --leader-elect=false \
  --service-account-private-key-file "$pki/sa.key" --root-ca-file "$pki/ca.crt" --use-service-account-credentials \
  --kube-api-qps 500 --kube-api-burst 500 --concurrent-job-syncs 20
cat >"$run/scheduler.yaml" <<END
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection: {leaderElect: false}
clientConnection: {kubeconfig: $pki/scheduler.kubeconfig, qps: 500, burst: 500}
END
daemon kube-scheduler "$bin/kube-scheduler" --config "$run/scheduler.yaml" --bind-address "$lo" \
  --authentication-kubeconfig "$pki/scheduler.kubeconfig" --authentication-skip-lookup --authorization-kubeconfig "$pki/scheduler.kubeconfig"
await kube-controller-manager get -k "https://$lo:10257/healthz"
await kube-scheduler get -k "https://$lo:10259/healthz"
await kube-controller-manager get "$server/api/v1/namespaces/default/serviceaccounts/default"

ready() { get "$server/api/v1/nodes/$1" -H 'Accept: application/json' | tr -d ' \n' | grep '"type":"Ready","status":"True"' >/dev/null; }
[ -z "$LAB_NODES" ] || . "$lab/node.sh"
[ "$LAB_SIMULATED" = 0 ] || . "$lab/simulated.sh"
[ -z "$LAB_JOBSET" ] || . "$lab/jobset.sh"
[ -z "$LAB_QUEUE" ] || . "$lab/kueue.sh"

# The checks of the conformance suite share a namespace, which is faster than one for each.
get "$server/api/v1/namespaces/$DLX_TEST_NAMESPACE" >/dev/null ||
  get "$server/api/v1/namespaces" -H 'Content-Type: application/json' -d "{\"metadata\": {\"name\": \"$DLX_TEST_NAMESPACE\"}}" >/dev/null

install -m 600 -o "${SUDO_UID:-$(id -u)}" -g "${SUDO_GID:-$(id -g)}" "$pki/admin.kubeconfig" "$KUBECONFIG"
cat <<END
The cluster is up. For dlx, and for the tests:
  export KUBECONFIG=$KUBECONFIG
  export DLX_TEST_LAB=$lab DLX_TEST_KUBECONFIG=$KUBECONFIG DLX_TEST_NAMESPACE=$DLX_TEST_NAMESPACE DLX_TEST_POD='$DLX_TEST_POD'
Both are also what ". testdata/lab/kubernetes/env.sh" does.
END
