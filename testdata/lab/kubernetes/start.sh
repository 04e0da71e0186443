#!/usr/bin/env bash
# Starts the cluster. What runs already is left alone.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
for c in containerd runc ctr curl ip nsenter unshare; do
  command -v $c >/dev/null || { echo "$c is missing; Debian: apt-get install containerd runc containernetworking-plugins curl iproute2" >&2; exit 1; }
done
[ -x "$LAB_CNI/bridge" ] || { echo "$LAB_CNI/bridge is missing; Debian: apt-get install containernetworking-plugins" >&2; exit 1; }
[ -x "$bin/kube" ] || { echo "build.sh first" >&2; exit 1; }

if [ -z "${LAB_INSIDE:-}" ]; then
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
began=$(date +%s%N)
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
  say "$name is ready"
}
pki=$run/pki
server=https://$LAB_LINK.2:6443
get() { curl -sf --noproxy '*' --cacert "$pki/ca.crt" --cert "$pki/admin.crt" --key "$pki/admin.key" "$@"; }
addrs=$LAB_LINK.2
i=0
for n in $LAB_NODES; do addrs+=,$LAB_NET.0.$((++i)); done
"$bin/kube" pki -dir "$pki" -server "$server" -nodes "${LAB_NODES// /,}" -ips "$addrs"

daemon etcd "$bin/etcd" --data-dir "$run/etcd" --log-level warn --unsafe-no-fsync
await etcd get http://127.0.0.1:2379/health

daemon kube-apiserver "$bin/kube-apiserver" --etcd-servers http://127.0.0.1:2379 \
  --bind-address "$LAB_LINK.2" --endpoint-reconciler-type none --service-cluster-ip-range 10.96.0.0/16 \
  --client-ca-file "$pki/ca.crt" --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" \
  --service-account-issuer https://kubernetes.default.svc \
  --service-account-key-file "$pki/sa.pub" --service-account-signing-key-file "$pki/sa.key" \
  --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
  --kubelet-certificate-authority "$pki/ca.crt" --kubelet-preferred-address-types InternalIP \
  --kubelet-client-certificate "$pki/apiserver-to-kubelet.crt" --kubelet-client-key "$pki/apiserver-to-kubelet.key"
await kube-apiserver get "$server/readyz"

daemon kube-controller-manager "$bin/kube-controller-manager" --kubeconfig "$pki/controller-manager.kubeconfig" \
  --authentication-kubeconfig "$pki/controller-manager.kubeconfig" --authentication-skip-lookup \
  --authorization-kubeconfig "$pki/controller-manager.kubeconfig" --bind-address 127.0.0.1 --leader-elect=false \
  --service-account-private-key-file "$pki/sa.key" --root-ca-file "$pki/ca.crt" --use-service-account-credentials
cat >"$run/scheduler.yaml" <<END
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection: {leaderElect: false}
clientConnection: {kubeconfig: $pki/scheduler.kubeconfig}
END
daemon kube-scheduler "$bin/kube-scheduler" --config "$run/scheduler.yaml" --bind-address 127.0.0.1 \
  --authentication-kubeconfig "$pki/scheduler.kubeconfig" --authentication-skip-lookup --authorization-kubeconfig "$pki/scheduler.kubeconfig"
await kube-controller-manager get -k https://127.0.0.1:10257/healthz
await kube-scheduler get -k https://127.0.0.1:10259/healthz
await kube-controller-manager get "$server/api/v1/namespaces/default/serviceaccounts/default"

# All pods are on one bridge. The nodes' addresses are on it too, so that pods reach the servers of
# their nodes, and what resolves names is one of these.
ip link show "$LAB_NAME" >/dev/null 2>&1 || { ip link add "$LAB_NAME" type bridge; ip link set "$LAB_NAME" up; }
[ -f "$run/sysctl" ] || for c in $sysctls; do echo "$c=$(sysctl -n "$c")"; done >"$run/sysctl"

# A node is a mount namespace with /var/lib, /var/log, /var/tmp and /run of its own. In these
# folders containerd, kubelet and the pods find the usual paths, as on a computer of their own.
node() { # NAME NUMBER
  local name=$1 at=$LAB_NET.0.$2 dir=$run/$1 c parent enter
  [ -n "$(ip -o addr show dev "$LAB_NAME" to "$at")" ] || ip addr add "$at/16" dev "$LAB_NAME"
  mkdir -p "$dir"/{cni,var/lib,var/log,var/tmp}
  while read -r c; do
    parent=${c%/*}
    mkdir -p "$c/$name" 2>/dev/null || continue
    if [ -f "$parent/cgroup.subtree_control" ]; then # version 2
      for p in "$parent" "$c" "$c/$name"; do
        for x in $(cat "$p/cgroup.controllers"); do echo "+$x" >"$p/cgroup.subtree_control" 2>/dev/null || true; done
      done
    elif [ -f "$parent/cpuset.cpus" ]; then
      for p in "$c" "$c/$name"; do for x in cpus mems; do cat "$parent/cpuset.$x" >"$p/cpuset.$x"; done; done
    fi
  done < <(groups)
  cat >"$dir/cni/lab.conflist" <<END
{"cniVersion": "0.4.0", "name": "lab", "plugins": [{"type": "bridge", "bridge": "$LAB_NAME", "ipam": {"type": "host-local",
  "ranges": [[{"subnet": "$LAB_NET.0.0/16", "rangeStart": "$LAB_NET.$2.1", "rangeEnd": "$LAB_NET.$2.254", "gateway": "$LAB_NET.0.1"}]],
  "routes": [{"dst": "0.0.0.0/0"}]}}]}
END
  cat >"$dir/containerd.toml" <<END
version = 2
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$LAB_IMAGE"
  # A score below the parent's takes a capability that root in a container may lack.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$LAB_CNI"
    conf_dir = "$dir/cni"
END
  daemon "$name-containerd" unshare --mount bash -c 'cd "$1"
    for d in var/lib var/log var/tmp; do mount --bind "$d" "/$d"; done
    mount -t tmpfs -o mode=755 run /run
    exec containerd --config "$1/containerd.toml"' - "$dir"
  enter="nsenter --mount=/proc/$(pid "$name-containerd")/ns/mnt --wdns=/"
  await "$name-containerd" $enter ctr version
  if ! $enter ctr -n k8s.io images ls -q | grep -x "$LAB_IMAGE" >/dev/null; then
    $enter ctr -n k8s.io images import - <"$bin/image.tar" >>"$run/log/$name-containerd.log" 2>&1
    $enter ctr -n k8s.io images label "$LAB_IMAGE" io.cri-containerd.image=managed >/dev/null
  fi
  echo "nameserver $LAB_NET.0.1" >"$dir/resolv.conf"
  cat >"$dir/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $at
healthzBindAddress: $at
tlsCertFile: $pki/kubelet.crt
tlsPrivateKeyFile: $pki/kubelet.key
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: Webhook}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$LAB_NAME/$name
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: [pods]
evictionHard: {memory.available: 50Mi, nodefs.available: "1%", imagefs.available: "1%"}
imageGCHighThresholdPercent: 100
makeIPTablesUtilChains: false
resolvConf: $dir/resolv.conf
clusterDNS: [$LAB_NET.0.1]
clusterDomain: cluster.local
volumePluginDir: /var/lib/kubelet/volume-plugins
nodeStatusUpdateFrequency: 5s
END
  daemon "$name-kubelet" $enter "$bin/kubelet" --kubeconfig "$pki/$name.kubeconfig" --config "$dir/kubelet.yaml" \
    --hostname-override "$name" --node-ip "$at"
}
ready() { get "$server/api/v1/nodes/$1" -H 'Accept: application/json' | tr -d ' \n' | grep '"type":"Ready","status":"True"' >/dev/null; }
i=0
for n in $LAB_NODES; do node "$n" $((++i)); done

cat >"$run/Corefile" <<END
.:53 {
  bind $LAB_NET.0.1
  errors
  kubernetes cluster.local {
    kubeconfig $pki/admin.kubeconfig
  }
}
END
daemon coredns "$bin/coredns" "$run/Corefile"
for n in $LAB_NODES; do await "$n-kubelet" ready "$n"; done
i=0
for n in $LAB_NODES; do await "$n-kubelet" curl -sf --noproxy '*' "http://$LAB_NET.0.$((++i)):10248/healthz"; done

for n in $LAB_NODES; do
  get -X PATCH "$server/api/v1/nodes/$n/status" -H 'Content-Type: application/json-patch+json' \
    -d "[{\"op\": \"add\", \"path\": \"/status/capacity/${LAB_GPU/\//~1}\", \"value\": \"2\"}]" >/dev/null
done

# The checks of the conformance suite share a namespace, which is faster than one for each.
get "$server/api/v1/namespaces/$DLX_TEST_NAMESPACE" >/dev/null ||
  get "$server/api/v1/namespaces" -H 'Content-Type: application/json' -d "{\"metadata\": {\"name\": \"$DLX_TEST_NAMESPACE\"}}" >/dev/null

install -m 600 -o "${SUDO_UID:-0}" -g "${SUDO_GID:-0}" "$pki/admin.kubeconfig" "$KUBECONFIG"
cat <<END
The cluster is up. For dlx, and for the tests:
  export KUBECONFIG=$KUBECONFIG
  export DLX_TEST_LAB=$lab DLX_TEST_KUBECONFIG=$KUBECONFIG DLX_TEST_NAMESPACE=$DLX_TEST_NAMESPACE DLX_TEST_POD='$DLX_TEST_POD'
Both are also what ". testdata/lab/kubernetes/env.sh" does.
END
