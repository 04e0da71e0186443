# What start.sh and stop.sh share; sourced. With real nodes both run as root, and "sudo" keeps the caller's settings.
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
if [ -n "$LAB_NODES" ] && [ "$(id -u)" != 0 ]; then
  export LAB_HOME LAB_NAME LAB_NODES LAB_STATIC LAB_QUEUE LAB_JOBSET LAB_SIMULATED LAB_NET LAB_LINK LAB_IMAGE LAB_CNI
  exec sudo --preserve-env=LAB_HOME,LAB_NAME,LAB_NODES,LAB_STATIC,LAB_QUEUE,LAB_JOBSET,LAB_SIMULATED,LAB_NET,LAB_LINK,LAB_IMAGE,LAB_CNI "$lab/${0##*/}" "$@"
fi
bin=$(realpath -m "$bin") # as /proc shows it
netns() { LAB_NETNS=$LAB_NAME "$lab/../netns.sh" "$@"; }
pid() { cat "$run/pid/$1" 2>/dev/null; }
alive() { # NAME: runs, and is a program of the lab
  local exe
  exe=$(readlink "/proc/$(pid "$1")/exe") && [[ $exe == "$bin/kube"* || $exe == "$bin/kueue"* || $exe == "$bin/jobset"* || ${exe##*/} == containerd* ]]
}
# kubelet sets these for the whole computer; they are put back.
sysctls="vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes"
groups() { # the lab's control group in every hierarchy: version 2, or those of version 1
  local c
  if [ -f /sys/fs/cgroup/cgroup.controllers ]; then echo "/sys/fs/cgroup/$LAB_NAME"; else for c in /sys/fs/cgroup/*/; do echo "$c$LAB_NAME"; done; fi
}
