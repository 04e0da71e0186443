#!/usr/bin/env bash
# Runs the founding study on the joined labs, one trial at a time: all cells once, on all four orchestrations.
#   study.sh RUN [FLAGS OF dlx run...]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(realpath "$here/../../..")
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
(cd "$root" && CGO_ENABLED=0 "${GO:-go}" build -trimpath -o "$bin" ./cmd/dlx)
source "${LAB_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/dlx/lab}/openstack/env"
"$here/../netns.sh" in "$bin/dlx" run "$root/testdata/studies/closer2018" --testbed "$here/testbed.cue" --repeats 1 --jobs 1 --dir "$1" "${@:2}"
