#!/usr/bin/env bash
# A network namespace of the lab's own: netns.sh up | in COMMAND... | down. As root.
#
# The servers of a lab, and what tests them, run inside: no port collides with anything outside,
# machines have addresses that exist nowhere else, and "down" takes every bridge and tap with it.
set -euo pipefail
name=${LAB_NETNS:-dlxlab}
case ${1:-} in
up)
  ip netns list | grep -qw "$name" || ip netns add "$name"
  ip -n "$name" link set lo up
  # A Kubernetes API server finds its address by the default route, and does not start without one.
  ip -n "$name" link show lab0 >/dev/null 2>&1 || {
    ip -n "$name" link add lab0 type bridge
    ip -n "$name" addr add 10.99.0.1/24 dev lab0
    ip -n "$name" link set lab0 up
    ip -n "$name" route add default dev lab0
  }
  ;;
in)
  shift
  # Not "ip netns exec": that mounts a new /sys, which hides control groups from those who need them.
  exec nsenter --net="/run/netns/$name" "$@"
  ;;
down) if ip netns list | grep -qw "$name"; then ip netns del "$name"; fi ;;
*) sed -n 2,5p "$0"; exit 2 ;;
esac
