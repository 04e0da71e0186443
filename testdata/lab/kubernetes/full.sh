#!/usr/bin/env bash
# The long tests on control planes with simulated nodes: beside Kueue and JobSet, then of scale on 100 nodes. Stops
# them and deletes their data. Takes no root.
set -euo pipefail
lab=$(cd "$(dirname "$0")" && pwd)
: "${LAB_HOME:=${XDG_CACHE_HOME:-$HOME/.cache}/dlx/lab/kubernetes-full}"
export LAB_HOME LAB_NODES=
trap '"$lab/stop.sh" wipe' EXIT
"$lab/stop.sh" wipe
(
  export LAB_QUEUE=bench LAB_JOBSET=1
  "$lab/build.sh"
  "$lab/start.sh"
  . "$lab/env.sh"
  cd "$lab/../../.."
  DLX_TEST_REQUIRE=kubernetes/kueue,kubernetes/real go test -count=1 -timeout 10m -v -run '^TestKueue$' ./backends/kubernetes
  DLX_TEST_REQUIRE=kubernetes/simulated go test -count=1 -timeout 20m -run '^TestKubernetesSimulated$' ./backends/backendtest
)
"$lab/stop.sh" wipe
export LAB_SIMULATED=100
"$lab/start.sh"
. "$lab/env.sh"
export DLX_TEST_SCALE=${DLX_TEST_SCALE:-2000} DLX_TEST_REQUIRE=kubernetes/scale
cd "$lab/../../.."
go test -count=1 -timeout 90m -v -run '^TestScaleOnSimulatedNodes$' ./cmd/dlx
