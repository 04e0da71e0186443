# Settings and helpers that the lab's scripts share. Sourced.
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
[[ $(id -u) == 0 ]] || { echo "${0##*/}: run it as root" >&2; exit 1; }
# Everything that the lab writes is in one folder: configuration, databases, logs, pid files.
export LAB_HOME="${LAB_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/dlx/lab}"
export LAB_DIR="$LAB_HOME/openstack"
export LAB_TIERS="${LAB_TIERS-vm}"    # vm is always there; besides it: ironic magnum guests
: "${LAB_FAKE_HOSTS:=3}"              # nova-compute processes with the fake driver
: "${LAB_GUEST_HOSTS:=3}"             # libvirtd processes with a nova-compute
: "${LAB_VIRT:=qemu}"                 # of guests: qemu (emulation) or kvm
: "${LAB_PASSWORD:=lab-password}"     # of every user; nobody outside the namespace can reach the lab
export LAB_ADDR=127.0.0.1 LAB_PASSWORD
DB_PORT=13306 AMQP_PORT=5672 MEMCACHED_PORT=11211
BRIDGE=br-lab
export LAB_GUEST_NET=10.77.0.0/24 LAB_GUEST_GW=10.77.0.1
export LAB_FAULTS="$LAB_DIR/faults"
export LAB_GUEST_HOSTS
export LAB_METAL_NODES="${LAB_METAL_NODES:-16}"    # of Ironic itself; Nova has 4 of its own
ETC="$LAB_DIR/etc" LOG="$LAB_DIR/log" RUN="$LAB_DIR/run" DATA="$LAB_DIR/data"
# Debian's OpenStack is for Debian's own python3: other interpreters (pyenv, conda) stay out.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
unset PYTHONHOME PYENV_VERSION PYTHONUNBUFFERED || true
export PYTHONPATH="$HERE/py" PYTHONWARNINGS=ignore PYTHONDONTWRITEBYTECODE=1
# A proxy of the environment must not catch calls inside the lab.
export no_proxy="127.0.0.1,localhost,$LAB_GUEST_GW" NO_PROXY="127.0.0.1,localhost,$LAB_GUEST_GW"
AMQP="rabbit://guest:guest@$LAB_ADDR:$AMQP_PORT/"
KEYSTONE="http://$LAB_ADDR:5000/v3"

with() { [[ " $LAB_TIERS " == *" $1 "* ]]; }
for t in $LAB_TIERS; do
  case $t in vm | ironic | magnum | guests) ;; *) echo "LAB_TIERS: unknown tier \"$t\" (known: guests ironic magnum vm)" >&2; exit 1 ;; esac
done

# inside ARGS...: goes on in the lab's network namespace.
inside() {
  if [[ $(ip netns identify $$) == "${LAB_NETNS:-dlxlab}" ]]; then return 0; fi
  "$HERE/../netns.sh" up
  exec "$HERE/../netns.sh" in "$0" "$@"
}
say() { printf '%5ds  %s\n' "$SECONDS" "$*"; }
db_url() { echo "mysql+pymysql://lab:lab@$LAB_ADDR:$DB_PORT/$1?charset=utf8"; }

# A pid file holds the pid and when the process began, so that a pid used again is nobody's.
began() { awk '{print $22}' "/proc/$1/stat" 2>/dev/null; }
alive() {
  local pid at
  [[ -s $RUN/$1.pid ]] && read -r pid at <"$RUN/$1.pid" && [[ $at == "$(began "$pid")" ]]
}
# spawn NAME COMMAND...: starts a daemon in a session of its own, unless it runs.
spawn() {
  local name=$1 pid
  shift
  alive "$name" && return 0
  setsid nohup "$@" >>"$LOG/$name.log" 2>&1 </dev/null &
  pid=$!
  echo "$pid $(began "$pid")" >"$RUN/$name.pid"
}
# stop_one NAME: SIGTERM to the session's process group, SIGKILL after 10 s.
stop_one() {
  local pid i
  alive "$1" || { rm -f "$RUN/$1.pid"; return 0; }
  read -r pid _ <"$RUN/$1.pid"
  kill -TERM -- "-$pid" 2>/dev/null || true
  for ((i = 0; i < 50; i++)); do kill -0 -- "-$pid" 2>/dev/null || break; sleep 0.2; done
  kill -KILL -- "-$pid" 2>/dev/null || true
  rm -f "$RUN/$1.pid"
}
# wait_port NAME PORT: until it listens, 2 minutes at most.
wait_port() {
  local i
  for ((i = 0; i < 600; i++)); do
    (exec 3<>"/dev/tcp/$LAB_ADDR/$2") 2>/dev/null && return 0
    sleep 0.2
  done
  echo "$1: nothing listens on port $2; its log ends with:" >&2
  tail -n 15 "$LOG/$1.log" >&2
  return 1
}
# once NAME COMMAND...: what a kept database need not see twice.
once() {
  local name=$1
  shift
  [[ -e $LAB_DIR/done.$name ]] && return 0
  "$@" >"$LOG/once-$name.log" 2>&1 || { echo "$name: it went wrong:" >&2; tail -n 20 "$LOG/once-$name.log" >&2; return 1; }
  touch "$LAB_DIR/done.$name"
  say "  $name"
}
