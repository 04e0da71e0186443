#!/usr/bin/env bash
# Starts or ends a machine that is this computer itself: an SSH server whose processes, home and host name
# are the machine's own. Called by py/lab_machine.py, inside the lab's network namespace.
#   node.sh start MACHINE ADDRESS HOSTNAME | stop MACHINE
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
home="$DATA/nodes/$2"
case $1 in
start)
  ip addr replace "$3/32" dev lo
  echo "$3" >"$home/.address"
  spawn "node-$2" unshare --mount --propagation private --pid --uts --ipc --fork --kill-child --mount-proc sh -c '
    mount --bind "$1" /root && mount -t tmpfs run /run && mkdir /run/sshd && mount -t tmpfs tmp /tmp && hostname "$2" &&
    cd /root && exec env -i HOME=/root PATH="$PATH" /usr/sbin/sshd -D -e -f /root/.ssh/sshd_config' node "$home" "$4"
  ;;
stop)
  stop_one "node-$2"
  if [[ -e $home/.address ]]; then ip addr del "$(<"$home/.address")/32" dev lo || true; fi
  rm -rf "$home"
  ;;
esac
