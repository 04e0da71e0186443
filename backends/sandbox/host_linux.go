package sandbox

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// pinnedBy says, in the server's metadata, how machines are kept to their cores. A control group
// does it as well where this program may make one (see cage): that needs rights that a user seldom has.
const pinnedBy = "sched_setaffinity"

// lockFolder takes the folder for this process; the lock goes with the process, and leaves no file.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%w: %w", ErrInUse, err)
	}
	return f, nil
}

// unlockFolder lets go of it. Closing alone would not: a process that is being started has the
// descriptor as well, until it becomes its program.
func unlockFolder(f *os.File) {
	_ = unix.Flock(int(f.Fd()), unix.LOCK_UN)
	_ = f.Close()
}

// listen opens a listener whose address is free as soon as it is closed.
func listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr) //nolint:noctx // binding loopback does not wait
	if err != nil {
		return nil, err
	}
	return listener{l.(*net.TCPListener)}, nil
}

type listener struct{ *net.TCPListener }

// Close ends the listening itself. Closing the descriptor alone would not: a process that is being
// started has it as well, until it becomes its program.
func (l listener) Close() error {
	if c, err := l.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) })
	}
	return l.TCPListener.Close()
}

func allowedCPUs() []int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(os.Getpid(), &set); err != nil || set.Count() == 0 {
		return []int{0}
	}
	var out []int
	for i := 0; len(out) < set.Count(); i++ {
		if set.IsSet(i) {
			out = append(out, i)
		}
	}
	return out
}

// startPinned starts a command that, with all its children, may use the cores only. A thread's
// affinity is what its child begins with, so the thread that forks takes it on for that moment.
func startPinned(cmd *exec.Cmd, cpus []int) error {
	if len(cpus) == 0 {
		return cmd.Start()
	}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		var old, set unix.CPUSet
		for _, c := range cpus {
			set.Set(c)
		}
		err := unix.SchedGetaffinity(0, &old)
		if err == nil {
			err = unix.SchedSetaffinity(0, &set)
		}
		if err != nil {
			runtime.UnlockOSThread()
			started <- fmt.Errorf("pin to CPUs %v: %w", cpus, err)
			return
		}
		err = cmd.Start()
		if unix.SchedSetaffinity(0, &old) == nil {
			runtime.UnlockOSThread()
		} // else the goroutine takes the thread with it
		started <- err
	}()
	return <-started
}

// killMachine kills what carries the machine's mark until none is left, and what works in its
// folder with an environment that was cleaned. (A person's shell there has a HOME.)
func killMachine(home string) error {
	mark := []byte(markName + "=" + home)
	deadline := time.Now().Add(10 * time.Second)
	for {
		pids := find(func(p string) bool {
			env := environment(p)
			return hasVariable(env, mark) || worksBelow(p, home) && !bytes.Contains(env, []byte("HOME="))
		})
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v do not die", pids)
		}
		for _, p := range pids {
			_ = syscall.Kill(p, syscall.SIGKILL)
		}
		pause(pids)
	}
}

// pause lets the kernel finish with killed processes. It waits for the first of them in the
// kernel rather than for time, which may be virtual.
func pause(pids []int) {
	fd, err := unix.PidfdOpen(pids[0], 0)
	if err != nil {
		return // it is gone
	}
	defer func() { _ = unix.Close(fd) }()
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 100) //nolint:gosec // descriptors are small
}

// processesBelow lists the processes of all machines whose folder is below dir.
func processesBelow(dir string) []int {
	home := []byte(markName + "=" + filepath.Join(dir, machinesFolder) + "/")
	return find(func(p string) bool {
		return bytes.Contains(environment(p), home) || worksBelow(p, dir)
	})
}

// find lists the processes, zombies apart, whose /proc folder fits.
func find(fits func(string) bool) []int {
	all, _ := filepath.Glob("/proc/[0-9]*")
	var out []int
	for _, p := range all {
		pid, err := strconv.Atoi(filepath.Base(p))
		if err == nil && pid != os.Getpid() && fits(p) {
			out = append(out, pid)
		}
	}
	return out
}

// environment is what the process was started with; empty for zombies and strangers.
func environment(p string) []byte {
	env, err := os.ReadFile(p + "/environ")
	if err != nil {
		return nil
	}
	return env
}

func hasVariable(env, mark []byte) bool {
	for v := range bytes.SplitSeq(env, []byte{0}) {
		if bytes.Equal(v, mark) {
			return true
		}
	}
	return false
}

// worksBelow reports whether the process's working folder is dir or below it; a zombie has none.
func worksBelow(p, dir string) bool {
	cwd, err := os.Readlink(p + "/cwd")
	return err == nil && (cwd == dir || strings.HasPrefix(cwd, dir+"/"))
}
