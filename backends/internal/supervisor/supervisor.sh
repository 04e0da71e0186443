#!/bin/sh
# The supervisor of dlx: it starts a program on a machine, watches it and keeps how it ended.
# It needs a POSIX shell (dash, busybox sh, bash, ...), /proc and the usual small tools.
#
#   supervisor.sh start ID BYTES TIMEOUT CPUS GPUS MEMORY [FIRSTCPU FIRSTGPU]   < a shell script of BYTES
#                                     bytes; the first of its CPUs and GPUs, counted from 0 among those
#                                     that the machine allows: those before are other processes'
#   supervisor.sh wait  ID            prints the exit record, as soon as there is one
#   supervisor.sh stop  ID GRACE      ends the program and everything it started
#   supervisor.sh sum   FILE          prints the SHA-256 of a file
#   supervisor.sh pod   TIMEOUT {FOLDER SCRIPT}...    is process 1 of a container: it runs the pair
#                                     number JOB_COMPLETION_INDEX, and ends when that has ended
#   supervisor.sh begun SECONDS ID... waits until all of them have been started
#   supervisor.sh show  ID FILE OFFSET           prints the size of a file and what follows
#   supervisor.sh left  ID BYTES                 waits for the end, and prints the exit record and what
#                                     the program printed: each as a line with file name and size, and
#                                     the file; without those of more than so many bytes
#   supervisor.sh have  SHA NAME MODE            prints the path of a staged file that is there
#   supervisor.sh put   SHA NAME MODE BYTES      stages a file of so many bytes   < the file
#
# ID is a folder name in procs/ beside this program's own folder. In it lie the program's files,
# stdout, stderr and probe, and in .dlx/ what belongs to the supervisor:
#   run      the script that becomes the program
#   alive    a FIFO that the supervisor holds open for writing as long as it lives, so that
#            reading from it waits for its end, however it comes, without looking again and again
#   started  there once the program runs
#   stop     there once a stop was asked for
#   late     there once the time was over
#   told     there once a supervisor in a container was itself told to end, by whoever
#   exit     the exit record, complete from the moment it can be seen
#
# It answers with its exit status: 0 done, 3 the supervisor vanished, 4 no such process,
# 5 the machine cannot do what was asked (standard error says what), 6 the script came torn.

set -u
home=$(pwd)
procs=$home/.dlx/procs
me=$0
case $me in /*) ;; *) me=$home/$me ;; esac

# fraction: whether sleep takes 0.05. Whole seconds otherwise.
if sleep 0.01 2>/dev/null; then short=0.05; else short=1; fi

# now prints the wall clock in nanoseconds, of which whole seconds are right where date knows no
# %N ($fine is empty); uptime_ns the time since boot, which is never set, in steps of 10 ms.
fine=
case $(date +%N 2>/dev/null) in *[!0-9]* | '') ;; *) fine=1 ;; esac
now() { if [ -n "$fine" ]; then date +%s%N; else echo "$(date +%s)000000000"; fi; }
uptime_ns() {
	read -r up _ </proc/uptime
	echo "${up%.*}$(printf '%.9s' "${up#*.}000000000")" | sed 's/^0*\(.\)/\1/'
}

# marked lists the processes that carry the mark of $dir in their environment: the program and
# all it started, also those in sessions of their own. The mark is the whole folder, for other
# logins, and other sandboxes of one computer, have processes of the same ID; it ends with ';', so
# that it begins no other.
mark() { echo "DLX_PROCESS=$dir;"; }
if printf 'a\0b\n' | grep -qF b 2>/dev/null; then
	marked() {
		grep -slF "$(mark)" /proc/[0-9]*/environ 2>/dev/null | sed 's|/proc/\([0-9]*\)/.*|\1|'
	}
else # a grep that stops at zero bytes
	marked() {
		for f in /proc/[0-9]*/environ; do
			[ -r "$f" ] || continue
			case $(tr '\000' '\n' 2>/dev/null <"$f") in
			*"$(mark)"*) f=${f#/proc/}; echo "${f%/environ}" ;;
			esac
		done
	}
fi

# members lists all that has to end: the marked ones, and the session of the program (whoever
# cleaned its environment), without zombies.
members() {
	marked
	read -r leader 2>/dev/null <"$dir/.dlx/leader" || return 0
	cat /proc/[0-9]*/stat 2>/dev/null | sed -n "s/^\([0-9]*\) (.*) [^ZX] [0-9]* [0-9]* $leader .*/\1/p"
}

# signal sends one to all members; purge kills until none is left.
signal() {
	for p in $(members); do kill -s "$1" "$p" 2>/dev/null; done
}
purge() {
	again=
	while left=$(members) && [ -n "$left" ]; do
		[ -z "$again" ] || sleep $short
		again=1
		for p in $left; do kill -s KILL "$p" 2>/dev/null; done
	done
}

# dismiss ends a watcher, which may not have reached its own session yet.
dismiss() { kill -s KILL "$1" 2>/dev/null; kill -s KILL -- "-$1" 2>/dev/null; }

# nap sleeps for a decimal number of seconds, rounded up where sleep knows no fractions.
nap() { sleep "$1" 2>/dev/null || sleep $((${1%.*} + 1)); }

# follow waits for the end of the supervisor of $dir: descriptor 7 ends when nobody holds the
# FIFO for writing. Opening it through 8 first keeps the opening itself from waiting.
follow() {
	exec 8<>"$dir/.dlx/alive" 7<"$dir/.dlx/alive" 8>&-
	read -r _ <&7
	exec 7<&-
}

# claimed waits until whoever made the folder has made the FIFO as well: a moment, or never.
claimed() {
	i=0
	while [ ! -p "$dir/.dlx/alive" ]; do
		[ -e "$dir/.dlx/exit" ] && return 0
		i=$((i + 1))
		[ $i -lt 100 ] || return 1
		sleep $short
	done
}

allowed_cpus() { sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/self/status; }

# each_cpu turns "0-3,8" into lines.
each_cpu() {
	echo "$1" | tr ',' '\n' | while IFS=- read -r a b; do
		[ -n "$a" ] || continue
		b=${b:-$a}
		while [ "$a" -le "$b" ]; do echo "$a"; a=$((a + 1)); done
	done
}

# probe prints what this machine is, seen from inside. Unknown values are left out.
probe() {
	say() { [ -n "$2" ] && printf '%s=%s\n' "$1" "$(printf '%s' "$2" | tr '\n' ' ')"; return 0; }
	first() { for f; do [ -r "$f" ] && { head -n 1 "$f" 2>/dev/null; return; }; done; }
	cpu_field() { sed -n "s/^$1[[:space:]]*:[[:space:]]*//p" /proc/cpuinfo 2>/dev/null | head -n 1; }
	# The name that systemd gives to a hypervisor, where there is no systemd.
	hypervisor() {
		case "$(first /sys/devices/system/clocksource/clocksource0/available_clocksource) $(cpu_field 'model name') $(cat \
			/sys/class/dmi/id/sys_vendor /sys/class/dmi/id/product_name /sys/class/dmi/id/chassis_vendor 2>/dev/null)" in
		*kvm-clock*) echo kvm ;;
		*QEMU*) echo qemu ;;
		*VMware*) echo vmware ;;
		*VirtualBox*) echo oracle ;;
		*Xen*) echo xen ;;
		*) echo vm ;;
		esac
	}

	say kernel "$(uname -sr)"
	say architecture "$(uname -m)"
	say hostname "$(uname -n)"
	say boot.id "$(first /proc/sys/kernel/random/boot_id)"
	virt=$(systemd-detect-virt 2>/dev/null)
	if [ -z "$virt" ]; then
		virt=none
		case " $(cpu_field flags) " in *" hypervisor "*) virt=$(hypervisor) ;; esac
		[ -e /.dockerenv ] && virt=container
	fi
	say virtualisation "$virt"
	say dmi.vendor "$(first /sys/class/dmi/id/sys_vendor)"
	say dmi.product "$(first /sys/class/dmi/id/product_name)"
	say cpu.model "$(cpu_field 'model name')"
	say cpu.online "$(first /sys/devices/system/cpu/online)"
	say cpu.allowed "$(allowed_cpus)"
	say memory.kib "$(sed -n 's/^MemTotal:[[:space:]]*\([0-9]*\).*/\1/p' /proc/meminfo)"

	v2=$(sed -n 's/^0:://p' /proc/self/cgroup 2>/dev/null)
	v1cpu=$(sed -n 's/^[0-9]*:\([^:]*,\)*cpu\(,[^:]*\)*:\(.*\)/\3/p' /proc/self/cgroup 2>/dev/null)
	v1mem=$(sed -n 's/^[0-9]*:\([^:]*,\)*memory\(,[^:]*\)*:\(.*\)/\3/p' /proc/self/cgroup 2>/dev/null)
	c=/sys/fs/cgroup
	if [ -r $c/cgroup.controllers ]; then
		say cgroup v2
		say cgroup.cpu.max "$(first "$c$v2/cpu.max" $c/cpu.max)"
		say cgroup.memory.max "$(first "$c$v2/memory.max" $c/memory.max)"
	elif [ -d $c/cpu ] || [ -d $c/memory ]; then
		say cgroup v1
		say cgroup.cpu.quota "$(first "$c/cpu$v1cpu/cpu.cfs_quota_us" $c/cpu/cpu.cfs_quota_us)"
		say cgroup.cpu.period "$(first "$c/cpu$v1cpu/cpu.cfs_period_us" $c/cpu/cpu.cfs_period_us)"
		say cgroup.memory.max "$(first "$c/memory$v1mem/memory.limit_in_bytes" $c/memory/memory.limit_in_bytes)"
	fi
	if command -v nvidia-smi >/dev/null 2>&1; then
		say gpu.uuids "$(nvidia-smi --query-gpu=uuid --format=csv,noheader 2>/dev/null | tr '\n' ',' | sed 's/,$//')"
		say gpu.models "$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | tr '\n' ',' | sed 's/,$//')"
		say gpu.driver "$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | head -n 1)"
	fi
	say container "$container"
	say limit.cpus "$pins"
	say limit.memory "$memory_by"
}

# record writes the exit record: under another name first, so that no reader sees half of it.
record() { # CODE STARTED ELAPSED
	{
		printf 'code=%s\nstarted=%s\nelapsed=%s\n' "$1" "$2" "$3"
		if [ -e "$dir/.dlx/late" ]; then echo timedout=1; fi
		if [ -e "$dir/.dlx/stop" ]; then echo stopped=1; fi
		if [ -e "$dir/.dlx/told" ]; then echo told=1; fi
		echo end=1
	} >"$dir/.dlx/exit.new"
	mv -f "$dir/.dlx/exit.new" "$dir/.dlx/exit"
}

# cage makes a control group with a memory limit, if this machine lets us, and prints its folder.
cage() {
	c=/sys/fs/cgroup
	name=dlx-$$
	if [ -r $c/cgroup.controllers ]; then
		v2=$(sed -n 's/^0:://p' /proc/self/cgroup)
		mkdir "$c$v2/$name" 2>/dev/null || return 1
		if (echo $(($1 * 1048576)) >"$c$v2/$name/memory.max") 2>/dev/null; then echo "$c$v2/$name"; return 0; fi
		rmdir "$c$v2/$name" 2>/dev/null
	elif [ -d $c/memory ]; then
		v1=$(sed -n 's/^[0-9]*:\([^:]*,\)*memory\(,[^:]*\)*:\(.*\)/\3/p' /proc/self/cgroup)
		mkdir "$c/memory$v1/$name" 2>/dev/null || return 1
		if (echo $(($1 * 1048576)) >"$c/memory$v1/$name/memory.limit_in_bytes") 2>/dev/null; then echo "$c/memory$v1/$name"; return 0; fi
		rmdir "$c/memory$v1/$name" 2>/dev/null
	fi
	return 1
}

# told is what a container's SIGTERM does: the cluster wants the pod to go. Its own SIGKILL comes
# after the pod's grace, which is longer than ours, so that there is a record.
told() {
	told=1
	: >"$dir/.dlx/told"
	signal TERM
	signal CONT
	(cd "$home" && exec setsid sh "$me" watch "$id" 10 kill </dev/null >/dev/null 2>&1 6>&- 9>&-) &
	killer=$!
}

# supervise runs the program. Its arguments are ready: $timeout, $gpus, $firstgpu, $memory, $pins.
# Descriptor 9 is the FIFO, 6 wakes the one who started us. Neither reaches the program.
supervise() {
	cd "$dir" || exit 5
	group= memory_by=
	if [ "$memory" -gt 0 ]; then
		if group=$(cage "$memory"); then memory_by="cgroup ${memory}MiB"; else memory_by="ulimit ${memory}MiB of addresses"; fi
	fi
	probe >probe.new 2>/dev/null
	mv -f probe.new probe

	pin=
	[ -z "$pins" ] || pin="taskset -c $pins"
	visible=
	if [ "$gpus" -gt 0 ]; then
		i=1 visible=$firstgpu
		while [ $i -lt "$gpus" ]; do visible=$visible,$((firstgpu + i)); i=$((i + 1)); done
	fi

	: >stdout
	: >stderr
	t0=$(now) u0=$(uptime_ns)
	if [ -e .dlx/stop ] || [ -n "$told" ]; then
		record 143 "$t0" 0
		exit 0
	fi
	(
		exec 6>&- 9>&- </dev/null >stdout 2>stderr
		if [ -n "$group" ]; then
			sh -c 'echo $PPID' >"$group/cgroup.procs"
		elif [ "$memory" -gt 0 ]; then
			ulimit -v $((memory * 1024))
		fi
		[ -z "$visible" ] || export CUDA_VISIBLE_DEVICES="$visible"
		DLX_PROCESS="$dir;"
		export DLX_PROCESS
		exec $pin setsid sh .dlx/run
	) &
	main=$!
	echo "$main" >.dlx/leader
	# Until the mark is on it nobody can find it to stop it: it is not said to have started.
	until tr '\000' '\n' 2>/dev/null <"/proc/$main/environ" | grep -qxF "$(mark)"; do
		case $(cat "/proc/$main/stat" 2>/dev/null) in *') Z '* | '') break ;; esac
	done
	dog=
	if [ "$timeout" != 0 ]; then
		(cd "$home" && exec setsid sh "$me" watch "$id" "$timeout" late </dev/null >/dev/null 2>&1 6>&- 9>&-) &
		dog=$!
	fi
	: >.dlx/started
	echo up >&6
	exec 6>&-

	wait "$main" 2>/dev/null
	code=$?
	while [ -n "$told" ] && kill -0 "$main" 2>/dev/null; do # the signal woke us, not the program's end
		wait "$main" 2>/dev/null
		code=$?
	done
	t1=$(now) u1=$(uptime_ns)
	[ -z "$dog" ] || dismiss "$dog"
	[ -z "$killer" ] || dismiss "$killer"
	purge
	[ -z "$group" ] || rmdir "$group" 2>/dev/null
	# The wall clock is finer, the time since boot is never set: a difference of more than a
	# second between them means that somebody set the clock meanwhile.
	elapsed=$((t1 - t0)) steady=$((u1 - u0)) off=$((t1 - t0 - u1 + u0))
	if [ -z "$fine" ] || [ $off -gt 1000000000 ] || [ $off -lt -1000000000 ]; then elapsed=$steady; fi
	record $code "$t0" $elapsed
	[ -z "$told" ] || exit 143
	exit 0
}

# sum prints the SHA-256 of a file.
sum() {
	for tool in sha256sum 'shasum -a 256' 'openssl dgst -sha256 -r'; do
		command -v "${tool%% *}" >/dev/null 2>&1 || continue
		set -- "$1" "$($tool "$1")" || exit 5
		echo "${2%% *}"
		return 0
	done
	echo 'no sha256sum, shasum or openssl on this machine' >&2
	exit 5
}

# tools refuses machines that lack what a supervisor cannot do without.
tools() {
	for tool in setsid mkfifo; do
		command -v $tool >/dev/null 2>&1 || { echo "no $tool on this machine" >&2; exit 5; }
	done
}

verb=${1:-} told= killer= container=
case $verb in
sum)
	sum "$2"
	exit 0
	;;
have | put)
	folder=$home/.dlx/files/$2
	at=$folder/$3
	if [ -f "$at" ]; then
		chmod "$4" "$at" || exit 5
	elif [ "$verb" = have ]; then
		exit 4
	else
		new=$folder/.new-$(uname -n)-$$ # holders of one node share the folder
		trap 'rm -f "$new"' EXIT
		mkdir -p "$folder" || exit 5
		head -c "$5" >"$new" || exit 5
		[ "$(wc -c <"$new")" -eq "$5" ] || exit 6
		have=$(sum "$new") || exit 5
		[ "$have" = "$2" ] || exit 6
		chmod "$4" "$new" && mv -f "$new" "$at" || exit 5
	fi
	echo "$at"
	exit 0
	;;
begun)
	turns=$2
	[ $short = 1 ] || turns=$(($2 * 20))
	shift 2
	for id; do
		dir=$procs/$id
		while [ ! -e "$dir/.dlx/started" ] && [ ! -e "$dir/.dlx/exit" ]; do
			[ $turns -gt 0 ] || { echo "$id"; exit 4; }
			turns=$((turns - 1))
			sleep $short
		done
	done
	exit 0
	;;
pod)
	timeout=$2
	shift $((2 + 2 * ${JOB_COMPLETION_INDEX:-0}))
	set -- pod "$1" "$timeout" "$2"
	;;
start | wait | stop | show | left | supervise | watch) ;;
*)
	echo "unknown verb '$verb'" >&2
	exit 5
	;;
esac
id=$2
dir=$procs/$id

case $verb in
start)
	bytes=$3 timeout=$4 cpus=$5 gpus=$6 memory=$7 firstcpu=${8:-0} firstgpu=${9:-0} pins=
	tools
	if [ "$cpus" -gt 0 ]; then
		all=$(each_cpu "$(allowed_cpus)")
		have=$(echo "$all" | wc -l)
		if [ "$have" -lt $((firstcpu + cpus)) ]; then
			beside=
			[ "$firstcpu" -eq 0 ] || beside=" beside $firstcpu of other processes"
			echo "$cpus CPUs are asked for$beside and the machine allows $((have)) ($(allowed_cpus))" >&2
			exit 5
		elif [ "$have" -gt "$cpus" ]; then
			command -v taskset >/dev/null 2>&1 || { echo "no taskset on this machine to keep to $cpus of $((have)) CPUs" >&2; exit 5; }
			pins=$(echo "$all" | tail -n +$((firstcpu + 1)) | head -n "$cpus" | tr '\n' ',' | sed 's/,$//')
		fi
	fi
	mkdir -p "$procs" || exit 5
	new=$procs/.new-$$
	trap 'rm -f "$new"' EXIT
	cat >"$new" || exit 5
	[ "$(wc -c <"$new")" -eq "$bytes" ] || exit 6
	if mkdir "$dir" 2>/dev/null; then # the claim: only one can make it
		mkdir "$dir/.dlx" && mv "$new" "$dir/.dlx/run" && mkfifo "$dir/.dlx/alive.new" "$dir/.dlx/up" || exit 5
		exec 9<>"$dir/.dlx/alive.new" 6<>"$dir/.dlx/up" 5<"$dir/.dlx/up"
		mv "$dir/.dlx/alive.new" "$dir/.dlx/alive"
		(trap - EXIT; exec setsid sh "$me" supervise "$id" "$timeout" "$gpus" "$firstgpu" "$memory" "$pins" </dev/null >/dev/null 2>&1 5<&-) &
		exec 9>&- 6>&-
		read -r _ <&5
	else
		claimed || exit 3
		i=0
		while [ ! -e "$dir/.dlx/started" ] && [ ! -e "$dir/.dlx/exit" ]; do
			i=$((i + 1))
			[ $i -lt 600 ] || exit 3
			sleep $short
		done
	fi
	[ -e "$dir/.dlx/started" ] || [ -e "$dir/.dlx/exit" ] || exit 3
	;;
pod) # the claim is that of start, and so is what belongs to it
	timeout=$3 gpus=0 firstgpu=0 memory=0 pins= container=pod
	tools
	mkdir -p "$procs" || exit 5
	if ! mkdir "$dir" 2>/dev/null; then
		[ -d "$dir" ] || { echo "no folder can be made in $procs" >&2; exit 5; }
		[ -e "$dir/.dlx/exit" ] && exit 0
		echo "it was started before, and that has vanished" >&2
		exit 3
	fi
	mkdir "$dir/.dlx" && printf '%s' "$4" >"$dir/.dlx/run" && mkfifo "$dir/.dlx/alive.new" || exit 5
	exec 9<>"$dir/.dlx/alive.new" 6>/dev/null
	mv "$dir/.dlx/alive.new" "$dir/.dlx/alive"
	trap told TERM
	supervise
	;;
show)
	[ -f "$dir/$3" ] || exit 4
	size=$(wc -c <"$dir/$3") || exit 5
	echo $((size))
	[ $((size)) -gt "$4" ] || exit 0
	tail -c "+$(($4 + 1))" "$dir/$3" | head -c $((size - $4))
	;;
wait | left)
	[ -d "$dir" ] || exit 4
	claimed || exit 3
	if [ ! -e "$dir/.dlx/exit" ]; then follow; fi
	[ -e "$dir/.dlx/exit" ] || exit 3
	if [ "$verb" = wait ]; then
		cat "$dir/.dlx/exit"
		exit 0
	fi
	for f in .dlx/exit stdout stderr probe; do
		[ -f "$dir/$f" ] || continue
		size=$(wc -c <"$dir/$f") || exit 5
		[ $((size)) -le "$3" ] || continue
		echo "$f $((size))"
		head -c $((size)) "$dir/$f" || exit 5
	done
	;;
stop)
	[ -d "$dir" ] || exit 0
	claimed || exit 0
	if [ ! -e "$dir/.dlx/exit" ]; then
		: >"$dir/.dlx/stop"
		signal TERM
		signal CONT
		setsid sh "$me" watch "$id" "$3" kill </dev/null >/dev/null 2>&1 &
		killer=$!
		follow
		dismiss "$killer"
	fi
	purge
	;;
supervise)
	timeout=$3 gpus=$4 firstgpu=$5 memory=$6 pins=$7
	supervise
	;;
watch) # a session of its own, killed by whoever needs it no more
	nap "$3"
	if [ "$4" = late ]; then
		: >"$dir/.dlx/late"
		signal TERM
		signal CONT
		sleep 10 # what Kubernetes' 30 s and systemd's 90 s are for services: training saves nothing at its end
	fi
	signal KILL
	;;
esac
exit 0
