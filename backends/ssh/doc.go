// Package ssh runs processes on machines that are reached by SSH.
//
// What it keeps on a machine lies in the folder .dlx of the login's home:
//
//	files/<sha256>/<name>   files that were staged, whole and checked
//	procs/<process>/        the folder of a process: its files, stdout, stderr, probe
//
// A process is started by a supervisor (package supervisor), a POSIX shell script that outlives the
// connection: it claims the folder so that a process starts once whoever asks, measures around
// the program, ends it after its time, and keeps how it ended. A Wait blocks in that script on
// the machine; nothing is polled over the network.
//
// One connection per machine is kept and made again when it is lost. The machine's host key is
// pinned: a machine that shows another is refused and never tried again. A jump host is reached in
// the same way, and one connection to it carries those to all machines behind it.
//
// Limits of a process. CPUs: the first n of the allowed ones, by taskset. GPUs: the first n, by
// CUDA_VISIBLE_DEVICES; 0 leaves the variable alone. Memory: a control group where the login may
// make one, else `ulimit -v`, which counts addresses and not memory, so that programs that
// reserve much and use little fail under it; the probe's limit.memory says which it was.
package ssh
