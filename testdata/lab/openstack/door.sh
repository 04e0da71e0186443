#!/usr/bin/env bash
# Starts or ends the door of a cluster of Magnum (../join/door). Called by py/lab_cluster.py, inside the lab's network
# namespace.
#   door.sh start CLUSTER | stop CLUSTER
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
dir="$DATA/clusters/$2" join="$LAB_DIR/kubernetes.json"
setting() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$join" "$1"; }
case $1 in
start)
  spawn "door-$2" "$(setting door)" -dir "$dir" -pki "$(setting pki)" -server "$(setting server)"
  for ((i = 0; i < 100; i++)); do [[ -s $dir/address ]] && exit 0; sleep 0.1; done
  tail -n 5 "$LOG/door-$2.log" >&2
  exit 1
  ;;
stop)
  if alive "door-$2"; then   # it deletes namespaces, which takes as long as their pods
    read -r pid _ <"$RUN/door-$2.pid"
    kill -TERM "$pid"
    for ((i = 0; i < 300; i++)); do alive "door-$2" || break; sleep 0.5; done
  fi
  stop_one "door-$2"
  rm -rf "$dir"
  ;;
esac
