#!/usr/bin/env bash
# Stops both labs; "stop.sh wipe" removes what they have written too.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
LAB_HOME=${LAB_KUBE_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/dlx/lab/kubernetes} "$here/../kubernetes/stop.sh" "$@"
"$here/../openstack/stop.sh" "$@"
