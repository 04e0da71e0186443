#!/usr/bin/env bash
# Stops both labs; "stop.sh wipe" removes what they have written too.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export LAB_HOME=${LAB_KUBE_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/dlx/lab/kubernetes}
"$here/../netns.sh" in "$here/../kubernetes/stop.sh" "$@"   # where its link is
unset LAB_HOME
"$here/../openstack/stop.sh" "$@"
