#!/usr/bin/env bash
# Starts both labs, joined: a cluster of Magnum leads to the Kubernetes lab, its nodes are that lab's own kubelets or
# guests of Nova with a kubelet inside. With it all four orchestrations are real on one computer. Debian 12, root.
#   make lab-study    starts it and runs the founding study on it
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export LAB_TIERS="vm ironic magnum guests"
"$here/../openstack/install.sh" && "$here/../openstack/start.sh" || exit 1
kube_home=${LAB_KUBE_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/dlx/lab/kubernetes} go=$(command -v "${GO:-go}")
source "$here/../openstack/lib.sh"
(LAB_HOME=$kube_home; source "$here/../kubernetes/env.sh"; set | grep -E '^(LAB_(NAME|NET|LINK|IMAGE|CNI|GPU|NODES)|bin|run)=' >"$LAB_DIR/kubernetes.env")
eval "$(sed 's/^/kube_/' "$LAB_DIR/kubernetes.env")"   # both labs have settings of the same name
pods=10.79                                              # of nodes that are guests: one /24 each
ns() { "$here/../netns.sh" in "$@"; }
kube() { env LAB_HOME="$kube_home" LAB_SIMULATED=0 "$@"; }

# The Kubernetes lab begins inside the network namespace of the other, which is "this computer" for it.
kube "$here/../netns.sh" in "$here/../kubernetes/start.sh" >"$LOG/join.log" 2>&1 || { tail -5 "$LOG/join.log" >&2; exit 1; }
say "Kubernetes is up"
ns sysctl -qw net.ipv4.ip_forward=1
ns ip route replace "$kube_LAB_NET.0.0/16" via "$kube_LAB_LINK.2"
for ((i = 2; i < 255; i++)); do echo "route replace $pods.$i.0/24 via ${LAB_GUEST_NET%.*}.$i dev $BRIDGE"; done | ns ip -batch -
for net in "$LAB_GUEST_NET" "$pods.0.0/16"; do ip -n "$kube_LAB_NAME" route replace "$net" via "$kube_LAB_LINK.1"; done
server=https://$kube_LAB_LINK.2:6443
for n in $kube_LAB_NODES; do
  ns curl -sf --cacert "$kube_run/pki/ca.crt" --cert "$kube_run/pki/admin.crt" --key "$kube_run/pki/admin.key" -X PATCH "$server/api/v1/nodes/$n" \
    -H 'Content-Type: application/merge-patch+json' -d '{"metadata": {"labels": {"lab.local/kind": "bm"}}}' >/dev/null
done
mkdir -p "$LAB_DIR/bin"
(cd "$here/door" && CGO_ENABLED=0 "$go" build -trimpath -o "$LAB_DIR/bin/door" .)
LAB_IMAGE=$kube_LAB_IMAGE LAB_CNI=$kube_LAB_CNI LAB_DNS=$kube_LAB_NET.0.1 LAB_PODS=$pods once kube-node \
  "$here/node-image.sh" "$DATA/guest" "$kube_bin" "$DATA/guest/kube-node.gz" "$(ls "$LAB_DIR"/debs/kernel/linux-image-*.deb | tail -1)"
export OS_CLIENT_CONFIG_FILE="$LAB_DIR/clouds.yaml"
once seed-join ns /usr/bin/python3 "$here/../openstack/seed.py" join
cat >"$LAB_DIR/kubernetes.json.new" <<J
{"pki": "$kube_run/pki", "server": "$server", "door": "$LAB_DIR/bin/door", "guests": "$LAB_GUEST_NET", "network": "lab-guests", "zone": "guests", "gpu": "$kube_LAB_GPU"}
J
mv "$LAB_DIR/kubernetes.json.new" "$LAB_DIR/kubernetes.json"
say "joined: . $LAB_DIR/env"
