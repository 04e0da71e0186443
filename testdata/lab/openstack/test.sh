#!/usr/bin/env bash
# Runs every check of the lab's tiers that runs, in its network namespace: a skip is a failure. The test
# programs are built before: the namespace has no way out.
#   LAB_FULL=1 ./test.sh                       the long ones too: 25 kills, 60 fleets under a quota
#   LAB_QUICK=1 ./test.sh                      of the guests' only what fake servers cannot show
#   ./test.sh [vm] [ironic] [magnum] [guests]      those tiers only; else all that were started
# The tiers are tested at the same time, in projects of their own: vm in two, Ironic and Magnum in one.
path=$PATH go=$(command -v "${GO:-go}")   # the user's, not Debian's
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
PATH="$(dirname "$go"):$path"
[[ -r $LAB_DIR/env ]] || { echo "test.sh: no lab was started: make lab-openstack" >&2; exit 1; }
source "$LAB_DIR/env"
root=$(realpath "$HERE/../../..") built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
LAB_TIERS="${*:-$LAB_STARTED}"
for t in $LAB_TIERS; do
  case $t in vm | ironic | magnum | guests) ;; *) echo "test.sh: unknown tier \"$t\" (known: guests ironic magnum vm)" >&2; exit 2 ;; esac
done
for p in backends/backendtest cmd/dlx; do (cd "$root/$p" && "$go" test -c -o "$built/${p//\//-}" .); done

# check NAME FOLDER PATTERN: runs the tests of a folder that fit, and says how long they took.
check() {
  local name=$1 folder=$2 began=$SECONDS result=ok
  (cd "$root/$folder" && "$HERE/../netns.sh" in "$built/${folder//\//-}" -test.timeout 80m -test.v -test.run "$3") \
    >"$LOG/test-$name.log" 2>&1 || { result=FAILED failed=1; }
  if grep -q '^ *--- SKIP' "$LOG/test-$name.log"; then result="FAILED: skipped" failed=1; fi
  printf '%-10s %4d s  %3d passed  %s\n' "$name" $((SECONDS - began)) "$(grep -c '^ *--- PASS' "$LOG/test-$name.log")" "$result"
  if [[ $result != ok ]]; then grep -E '^ *--- (FAIL|SKIP)|^ +[a-z_]+\.go:[0-9]+' "$LOG/test-$name.log" | cut -c1-300 | tail -40; fi
}
export DLX_TEST_REQUIRE=openstack/cloud,openstack/ironic,openstack/magnum,openstack/guests
lanes=()
lane() { # PROJECT CHECKS: runs a function of checks in the background
  (failed=0 OS_CLOUD=$1; "$2"; exit $failed) &
  lanes+=($!)
}
kills() { # KIND N: kills dlx on the machines of a kind, twice, or so often in a long run
  DLX_TEST_KILLS=2
  [[ -z ${LAB_FULL:-} ]] || DLX_TEST_KILLS=$2
  export DLX_TEST_KILLS
  check "kill-$1" cmd/dlx "^TestARunSurvivesKillsOnACloud\$/^$1\$"
}
vm() {
  check nova backends/backendtest '^(TestNovaCloud|TestLoginsCloud|TestRevokedTokenCloud)$'
  check faults backends/backendtest '^TestFaultsCloud$/^nova$'
  check cloud backends/backendtest '^TestOpenStackCloud$'
}
nets() {
  check networks backends/backendtest '^TestNetworksCloud$'
  check regions cmd/dlx '^TestAStudyInTwoRegionsOfACloud$'
  kills machine 10
  if [[ -n ${LAB_FULL:-} ]]; then check fleets cmd/dlx '^TestManyFleetsUnderAQuotaOnACloud$'; fi
}
lab() {
  if with ironic; then
    check metal backends/backendtest '^(TestMetalCloud|TestMetalServerCloud)$'
    check badmetal backends/backendtest '^TestFaultsCloud$/^ironic$'
    check ironic backends/backendtest '^TestOpenStackIronic$'
    kills metal 5
  fi
  if with magnum; then check magnum backends/backendtest '^TestMagnumCloud$'; fi
}
guests() {
  check study cmd/dlx '^TestAStudyOnGuests$'
  local checks=''
  [[ -z ${LAB_QUICK:-} ]] || checks='/^openstack$/^guests$/^(provision_twice_gives|a_new_process_finds_machines_and|files_of|the_probe|staged|a_process_outlives|another_host_key|machines_stand)'
  check guests backends/backendtest "^TestOpenStackGuests\$$checks"
  if [[ -z ${LAB_QUICK:-} || -n ${LAB_FULL:-} ]]; then kills guest 10; fi
}
if with vm; then lane lab-vm vm; lane lab-nets nets; fi
if with ironic || with magnum; then lane lab lab; fi
if with guests; then lane lab-guests guests; fi
failed=0
for l in "${lanes[@]}"; do wait "$l" || failed=1; done
exit $failed
