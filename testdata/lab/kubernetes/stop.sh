#!/usr/bin/env bash
# Stops what start.sh started. The cluster's data stays; "stop.sh wipe" deletes it. Programs stay.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
end() { # NAME...
  local i name
  for name; do
    if alive "$name"; then
      kill "$(pid "$name")"
      for i in $(seq 100); do alive "$name" || break; sleep 0.1; done
      alive "$name" && kill -9 "$(pid "$name")"
    fi
    rm -f "$run/pid/$name"
  done
}
# Containers are found by their control group, what watches over them by its network namespace.
containers() { while read -r c; do find "$c" -name cgroup.procs -exec cat {} + 2>/dev/null; done < <(groups) | sort -u; }
if [ -n "$LAB_NODES" ]; then
  end ${LAB_NODES// /-kubelet }-kubelet
  for i in 1 2 3 4 5; do
    left=$(containers)
    [ -n "$left" ] || break
    kill -9 $left 2>/dev/null
    sleep 0.3
  done
  for p in $(ip netns pids "$LAB_NAME" 2>/dev/null); do
    [[ $(readlink "/proc/$p/exe") == */containerd-shim* ]] && kill -9 "$p"
  done
  end ${LAB_NODES// /-containerd }-containerd coredns
fi
end kueue jobset kwok simulated kube-scheduler kube-controller-manager kube-apiserver etcd
if [ -n "$LAB_NODES" ]; then
  [ -f "$run/sysctl" ] && while read -r s; do sysctl -qw "$s"; done <"$run/sysctl"
  rm -f "$run/sysctl"
  while read -r c; do
    [ -d "$c" ] && find "$c" -depth -type d -exec rmdir {} \;
  done < <(groups)
  ip link del "$LAB_NAME" 2>/dev/null
  netns down
  for n in $LAB_NODES; do rm -rf "${run:?}/$n"; done # what a node keeps is of no use to the next
fi
[ "${1:-}" != wipe ] || rm -rf "$run" "$KUBECONFIG"
