#!/usr/bin/env bash
# Ends every process that start.sh started, by its pid file; the databases stay. "stop.sh wipe"
# removes them too, with all that the lab has written, and the network namespace.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
shopt -s nullglob
# What uses the database, the broker and libvirt goes first.
late="rabbitmq epmd memcached mariadb"
for f in "$RUN"/*.pid; do
  name=$(basename "$f" .pid)
  [[ " $late " == *" $name "* || $name == libvirtd-* ]] || stop_one "$name" &
done
wait
for f in "$RUN"/libvirtd-*.pid; do stop_one "$(basename "$f" .pid)" & done
wait
# Guests outlive libvirtd; it keeps a pid file of each.
for f in "$RUN"/libvirt-*/run/qemu/*.pid; do
  pid=$(<"$f")
  if tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q "$DATA/nova/qemu[0-9]*/"; then kill -KILL "$pid"; fi
  rm -f "$f"
done
for name in $late; do stop_one "$name" & done
wait
case ${1:-} in
'') ;;
wipe)
  rm -rf "$LAB_DIR"
  "$HERE/../netns.sh" down
  ;;
*) echo "stop.sh: unknown \"$1\" (known: wipe)" >&2; exit 2 ;;
esac
say "stopped"
