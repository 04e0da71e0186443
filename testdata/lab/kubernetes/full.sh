#!/usr/bin/env bash
# Starts a control plane with 100 simulated nodes, runs the tests of scale on it, and stops it and
# deletes its data. Takes no root.
set -euo pipefail
lab=$(cd "$(dirname "$0")" && pwd)
: "${LAB_HOME:=${XDG_CACHE_HOME:-$HOME/.cache}/dlx/lab/kubernetes-full}"
export LAB_HOME LAB_NODES= LAB_SIMULATED=100
"$lab/build.sh"
"$lab/stop.sh" wipe
trap '"$lab/stop.sh" wipe' EXIT
"$lab/start.sh"
. "$lab/env.sh"
export DLX_TEST_SCALE=${DLX_TEST_SCALE:-2000} DLX_TEST_REQUIRE=kubernetes/scale
cd "$lab/../../.."
go test -count=1 -timeout 90m -v -run '^TestScaleOnSimulatedNodes$' ./cmd/dlx
