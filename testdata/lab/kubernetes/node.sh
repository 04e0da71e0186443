# The real nodes; sourced by start.sh.

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
  # Without its socket ctr waits for ten seconds.
  await "$name-containerd" $enter test -S /run/containerd/containerd.sock
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
  [[ " $LAB_STATIC " != *" $name "* ]] || printf 'cpuManagerPolicy: static\nreservedSystemCPUs: "0"\n' >>"$dir/kubelet.yaml"
  # With what another policy left a kubelet does not start.
  alive "$name-kubelet" || rm -f "$dir/var/lib/kubelet/cpu_manager_state"
  daemon "$name-kubelet" $enter "$bin/kubelet" --kubeconfig "$pki/$name.kubeconfig" --config "$dir/kubelet.yaml" \
    --hostname-override "$name" --node-ip "$at"
}

# All pods are on one bridge. The nodes' addresses are on it too, so that pods reach the servers of
# their nodes, and what resolves names is one of these.
ip link show "$LAB_NAME" >/dev/null 2>&1 || { ip link add "$LAB_NAME" type bridge; ip link set "$LAB_NAME" up; }
# By the address of Service "kubernetes" pods reach the API server. No kube-proxy sees to it.
rule="PREROUTING -d 10.96.0.1/32 -p tcp --dport 443 -j DNAT --to-destination ${server#https://}"
iptables -t nat -C $rule 2>/dev/null || iptables -t nat -A $rule
[ -f "$run/sysctl" ] || for c in $sysctls; do echo "$c=$(sysctl -n "$c")"; done >"$run/sysctl"

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
