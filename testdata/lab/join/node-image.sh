#!/usr/bin/env bash
# Makes the initrd of a guest that becomes a node of the Kubernetes lab: that of a plain guest, with containerd,
# runc, kubelet and the image of the pods. Its user data calls "join NAME" (see py/lab_cluster.py).
#   node-image.sh GUEST KUBERNETES OUT     folders of the guest and of the Kubernetes lab's programs, and the file to write
set -euo pipefail
guest=$(realpath "$1") kube=$(realpath "$2") out=$(realpath -m "$3") debs=$4
: "${LAB_IMAGE:?}" "${LAB_CNI:?}" "${LAB_DNS:?}" "${LAB_PODS:?}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
r=$work/root
mkdir -p "$r"/{node,usr/lib/cni,usr/bin,usr/sbin,etc,var/lib,var/tmp,opt,lib/modules2}
dpkg-deb -x "$debs" kernel
for m in llc stp bridge veth overlay; do   # in the order they are loaded in
  cp "$(find kernel/lib/modules -name "$m.ko" | head -1)" "$r/lib/modules2/"
  echo "$m.ko" >>"$r/lib/modules2/order"
done
for p in containerd containerd-shim-runc-v2 ctr runc "$LAB_CNI"/{bridge,host-local,loopback}; do
  p=$(command -v "$p")
  case $p in "$LAB_CNI"/*) cp "$p" "$r/usr/lib/cni/" ;; *) cp "$p" "$r/usr/bin/" ;; esac
  for l in $(ldd "$p" 2>/dev/null | grep -o '/[^ ]*\.so[^ ]*' | sort -u); do mkdir -p "$r$(dirname "$l")"; cp -L "$l" "$r$l"; done
done
cp "$kube/kube" "$r/node/kubelet"   # the program looks at the name it is called by
cp "$kube/image.tar" "$r/node/"
cat >"$r/node/containerd.toml" <<C
version = 2
root = "/run/containerd-root"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "/run/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "/run/containerd-opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$LAB_IMAGE"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/run/cni"
C
cat >"$r/node/kubelet.yaml" <<C
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 0.0.0.0
healthzBindAddress: 127.0.0.1
tlsCertFile: /node/kubelet.crt
tlsPrivateKeyFile: /node/kubelet.key
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: /node/ca.crt}}
authorization: {mode: Webhook}
containerRuntimeEndpoint: unix:///run/containerd.sock
cgroupDriver: cgroupfs
enforceNodeAllocatable: []
evictionHard: {memory.available: 50Mi, nodefs.available: "1%", imagefs.available: "1%"}
imageGCHighThresholdPercent: 100
makeIPTablesUtilChains: false
resolvConf: /node/resolv.conf
clusterDNS: [$LAB_DNS]
clusterDomain: cluster.local
volumePluginDir: /run/volume-plugins
nodeStatusUpdateFrequency: 5s
C
echo "nameserver $LAB_DNS" >"$r/node/resolv.conf"
# Beside it lie, from the user data: ca.crt, kubelet.crt, kubelet.key, kubeconfig.
cat >"$r/node/join" <<J
#!/bin/sh
export PATH=/bin:/sbin:/usr/bin:/usr/sbin:/usr/lib/cni HOME=/root
mount --make-rshared /
while read -r m; do insmod /lib/modules2/\$m; done </lib/modules2/order
mkdir -p /sys/fs/cgroup && mount -t cgroup2 cgroup /sys/fs/cgroup; echo "+cpu +memory +pids +cpuset +io" >/sys/fs/cgroup/cgroup.subtree_control
echo 1 >/proc/sys/net/ipv4/ip_forward
echo "127.0.0.1 localhost" >/etc/hosts   # the CRI copies it into every pod and fails without it
at=\$(ip -4 -o addr show eth0 | awk '{print \$4}' | cut -d/ -f1)
mkdir -p /run/cni /var/lib/kubelet
cat >/run/cni/10-lab.conflist <<C
{"cniVersion": "0.4.0", "name": "lab", "plugins": [{"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
 "ipam": {"type": "host-local", "dataDir": "/run/ipam", "ranges": [[{"subnet": "$LAB_PODS.\${at##*.}.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
C
containerd --config /node/containerd.toml >/run/containerd.log 2>&1 &
until ctr -a /run/containerd.sock version >/dev/null 2>&1; do sleep 0.2; done
ctr -a /run/containerd.sock -n k8s.io images import /node/image.tar
ctr -a /run/containerd.sock -n k8s.io images label "$LAB_IMAGE" io.cri-containerd.image=managed >/dev/null
rm /node/image.tar
/node/kubelet --kubeconfig /node/kubeconfig --config /node/kubelet.yaml --root-dir /var/lib/kubelet --hostname-override "\$1" --node-ip "\$at" \\
  --node-labels "\$2" >/run/kubelet.log 2>&1 &
J
chmod 755 "$r/node/join"
(cd "$r" && find . | cpio --quiet -o -H newc | gzip -1) >node.gz
cat "$guest/initrd.gz" node.gz >"$out.new"
mv "$out.new" "$out"
