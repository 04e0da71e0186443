package sandbox

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sessionAttr is how processes start that get no namespaces of their own.
func sessionAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// namespaceAttr gives a process mount, host name and IPC namespaces of its own, and its first
// child a process namespace. Who is not root gets a user namespace too, in which he is.
func namespaceAttr() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setsid: true, Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC}
	if os.Getuid() != 0 {
		a.Cloneflags = syscall.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return a
}

// tryNamespaces reports whether this kernel gives us what namespaceAttr asks for, and the tools
// that put a file system together are here. It does once what a pod does.
func tryNamespaces(dir string) error {
	if mountTool() == "" || chrootTool() == "" {
		return errors.New("mount or chroot is missing")
	}
	root := filepath.Join(dir, "try")
	defer func() { _ = os.RemoveAll(root) }()
	for _, d := range []string{"proc", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o700); err != nil {
			return err
		}
	}
	cmd := exec.Command("/bin/sh", "-c", "("+mountTool()+" -t proc proc proc && "+mountTool()+" --rbind /etc etc && "+chrootTool()+" / true)") //nolint:noctx // it takes no time
	cmd.Dir, cmd.SysProcAttr = root, namespaceAttr()
	if out, err := cmd.CombinedOutput(); err != nil {
		return errors.New(strings.TrimSpace(err.Error() + " " + string(out)))
	}
	return nil
}

// childOf finds a child of a process; 0 if it has none.
func childOf(pid int) int {
	for _, p := range find(func(p string) bool {
		line, err := os.ReadFile(p + "/stat")
		return err == nil && parentOf(line) == pid
	}) {
		return p
	}
	return 0
}

// terminate sends SIGTERM or SIGKILL.
func terminate(pid int, kill bool) {
	sig := syscall.SIGTERM
	if kill {
		sig = syscall.SIGKILL
	}
	_ = syscall.Kill(pid, sig)
}

// killMarked kills what carries a mark in its environment, until none is left.
func killMarked(mark string) {
	deadline := time.Now().Add(10 * time.Second)
	for {
		pids := find(func(p string) bool {
			for v := range strings.SplitSeq(string(environment(p)), "\x00") {
				if strings.HasPrefix(v, mark) {
					return true
				}
			}
			return false
		})
		if len(pids) == 0 || time.Now().After(deadline) {
			return
		}
		for _, p := range pids {
			_ = syscall.Kill(p, syscall.SIGKILL)
		}
		pause(pids)
	}
}

// waiter waits for the end of processes, all with one goroutine that waits in the kernel: where
// time is virtual it stands still meanwhile, unless pace says how fast it goes.
type waiter struct {
	pace time.Duration

	mu      sync.Mutex
	wake    int // an eventfd; there while the goroutine runs
	running bool
	closed  bool
	waits   map[int]chan struct{} // by pidfd
	ended   sync.WaitGroup
}

// paceStep is how long the waiter waits, in real time, before it lets virtual time go on by pace.
const paceStep = 10 // milliseconds

// watch gives a channel that is closed when the process has ended.
func (w *waiter) watch(pid int) (<-chan struct{}, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, errClosed
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, err
	}
	ch := make(chan struct{})
	w.waits[fd] = ch
	if !w.running {
		if w.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
			return nil, err
		}
		w.running = true
		w.ended.Go(w.loop)
	}
	w.poke()
	return ch, nil
}

func (w *waiter) poke() { _, _ = unix.Write(w.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

func (w *waiter) loop() {
	for {
		w.mu.Lock()
		if len(w.waits) == 0 || w.closed {
			w.running = false
			_ = unix.Close(w.wake)
			w.mu.Unlock()
			return
		}
		fds := []unix.PollFd{{Fd: int32(w.wake), Events: unix.POLLIN}} //nolint:gosec // descriptors are small
		for fd := range w.waits {
			fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}) //nolint:gosec // as above
		}
		w.mu.Unlock()
		timeout := -1
		if w.pace > 0 {
			timeout = paceStep
		}
		n, _ := unix.Poll(fds, timeout)
		if fds[0].Revents != 0 {
			var b [8]byte
			_, _ = unix.Read(int(fds[0].Fd), b[:])
		}
		w.mu.Lock()
		for _, f := range fds[1:] {
			if ch := w.waits[int(f.Fd)]; n > 0 && f.Revents != 0 && ch != nil {
				delete(w.waits, int(f.Fd))
				_ = unix.Close(int(f.Fd))
				close(ch)
			}
		}
		w.mu.Unlock()
		if n == 0 && w.pace > 0 {
			time.Sleep(w.pace)
		}
	}
}

// close ends the waiting; channels stay open.
func (w *waiter) close() {
	w.mu.Lock()
	w.closed = true
	if w.running {
		w.poke()
	}
	w.mu.Unlock()
	w.ended.Wait()
	for fd := range w.waits {
		_ = unix.Close(fd)
	}
}
