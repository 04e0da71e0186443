#!/usr/bin/env bash
# Starts the cluster, runs every test that takes one, and stops it and deletes its data.
set -euo pipefail
lab=$(cd "$(dirname "$0")" && pwd)
"$lab/stop.sh" wipe
trap '"$lab/stop.sh" wipe' EXIT
"$lab/start.sh"
. "$lab/env.sh"
export DLX_TEST_REQUIRE=kubernetes/real,kubernetes/simulated
cd "$lab/../../.."
# Two packages at once: their tests wait for pods most of the time.
go test -count=1 -timeout 20m -p 2 -run '^(TestKubernetesReal|TestKubernetesSimulated|TestCluster|TestRole|TestALostNode|TestEachVerb.*)$' ./backends/backendtest ./backends/kubernetes
go test -count=1 -timeout 40m -run 'OnACluster' ./cmd/dlx   # DLX_TEST_KILLS=25: more kills
# And what JobSet makes of a trial, on the same cluster.
export LAB_JOBSET=1
"$lab/start.sh"
. "$lab/env.sh"
DLX_TEST_REQUIRE+=,kubernetes/jobset
go test -count=1 -timeout 10m -p 2 -run '^(TestJobSet|TestEachVerbOfJobSets.*)$' ./backends/kubernetes
go test -count=1 -timeout 10m -run '^TestContainerCellsOfTheFoundingStudyOnACluster$' ./cmd/dlx
