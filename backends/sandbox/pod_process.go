package sandbox

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// podMark is the variable by which all processes of a container are found. Its value is the
// folder of the attempt, with a '/' after it, so that it begins no other.
const podMark = "DLX_SANDBOX_POD"

// lostCode is the exit status of a container of which nothing is known any more: as if killed.
const lostCode = 137

// process is one start of a container. A small shell stands between it and this program: the
// supervisor, which writes down how it ended even if this program has died before.
type process struct {
	dir     string
	pid     int       // of the supervisor
	cmd     *exec.Cmd // nil for an adopted one
	done    <-chan struct{}
	started time.Time
	plain   bool
	err     error     // it did not start
	ended   time.Time // when it did not
}

// adoptProcess finds the process of an attempt that another program started.
func adoptProcess(w *waiter, dir string) *process {
	pr := &process{dir: dir, started: time.Now()}
	_, err := os.Stat(filepath.Join(dir, "plain"))
	pr.plain = err == nil
	line, err := os.ReadFile(filepath.Join(dir, "super"))
	if err != nil {
		return pr // it was never born
	}
	if fi, err := os.Stat(filepath.Join(dir, "super")); err == nil {
		pr.started = noLater(fi)
	}
	pid, born := parseStat(line)
	if done, err := w.watch(pid); err == nil {
		if now, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil {
			if _, b := parseStat(now); b == born && b != "" {
				pr.pid, pr.done = pid, done
			}
		}
	}
	return pr
}

// noLater is when a file was written; now at the latest, for the clock of files may be another.
func noLater(fi os.FileInfo) time.Time {
	if now := time.Now(); fi.ModTime().After(now) {
		return now
	}
	return fi.ModTime()
}

// parseStat takes process ID and time of birth out of a line of /proc/PID/stat: fields 1 and 22,
// of which the second may hold blanks.
func parseStat(line []byte) (pid int, born string) {
	head, rest, ok := bytes.Cut(line, []byte(" ("))
	i := bytes.LastIndex(rest, []byte(") "))
	if !ok || i < 0 {
		return 0, ""
	}
	pid, _ = strconv.Atoi(string(head))
	if f := strings.Fields(string(rest[i+2:])); len(f) > 19 {
		born = f[19]
	}
	return pid, born
}

// parentOf is field 4 of a line of /proc/PID/stat.
func parentOf(line []byte) int {
	i := bytes.LastIndex(line, []byte(") "))
	if i < 0 {
		return 0
	}
	f := strings.Fields(string(line[i+2:]))
	if len(f) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(f[1])
	return n
}

// first is the container's own first process: the supervisor's child. 0 if it has ended.
func (pr *process) first() int {
	return childOf(pr.pid)
}

// signal sends SIGTERM to the container's first process, or SIGKILL to all.
func (pr *process) signal(kill bool) {
	p := pr.first()
	if p != 0 {
		terminate(p, kill)
	}
	if kill && pr.plain {
		killMarked(podMark + "=" + pr.dir + "/")
	}
}

// exit says how it ended and when, after done.
func (pr *process) exit() (int, time.Time) {
	if pr.err != nil {
		return 128, pr.ended // as runc's
	}
	if pr.cmd != nil {
		_ = pr.cmd.Wait()
	}
	if pr.plain {
		killMarked(podMark + "=" + pr.dir + "/") // what the first process left running
	}
	file := filepath.Join(pr.dir, "exit")
	b, err := os.ReadFile(file)
	code, convErr := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || convErr != nil || !bytes.HasSuffix(b, []byte("\n")) {
		return lostCode, time.Now()
	}
	at := time.Now()
	if fi, err := os.Stat(file); err == nil && pr.cmd == nil {
		at = noLater(fi)
	}
	return code, at
}

// start begins attempt n of a container and returns when its program runs.
func (c *container) start(n int) (*process, error) {
	p := c.p
	dir := c.attempt(n)
	plain := !p.k.s.namespaces()
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "root"), 0o755); err != nil {
		return nil, err
	}
	if plain {
		if err := os.WriteFile(filepath.Join(dir, "plain"), nil, 0o600); err != nil {
			return nil, err
		}
	}
	script, err := c.script(dir, plain)
	if err != nil {
		return nil, err
	}
	run := filepath.Join(dir, "run")
	if err := os.WriteFile(run, []byte(script), 0o600); err != nil {
		return nil, err
	}
	env, err := c.environment(dir, plain)
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	cmd := exec.Command("/bin/sh", "-c", "exec /bin/sh "+quote(run)) //nolint:noctx // it ends by itself or with its pod, not with a request
	cmd.Dir, cmd.Env, cmd.ExtraFiles = filepath.Join(dir, "root"), env, []*os.File{w}
	if plain {
		cmd.SysProcAttr = sessionAttr()
	} else {
		cmd.SysProcAttr = namespaceAttr()
	}
	err = p.launch(cmd, c.cpus())
	_ = w.Close()
	if err != nil {
		return nil, err
	}
	answer, _ := bufio.NewReader(r).ReadString('\n')
	if answer = strings.TrimSpace(answer); answer != "ok" {
		_ = cmd.Wait()
		if answer == "" {
			answer = "the container's shell ended: see its log"
		}
		return nil, errors.New(answer)
	}
	pr := &process{dir: dir, pid: cmd.Process.Pid, cmd: cmd, started: time.Now(), plain: plain}
	pr.done, err = p.k.s.waiter().watch(pr.pid)
	return pr, err
}

// launch starts `/bin/sh -c command` as the machine starts what it runs: in its control group, if it
// has one, and on the cores.
func (p *pod) launch(cmd *exec.Cmd, cpus []int) error {
	p.k.s.mu.Lock()
	m := p.k.s.machines[p.host.Server]
	p.k.s.mu.Unlock()
	if m == nil {
		return errors.New("the node's machine is gone")
	}
	return m.cage.start(cmd, func() error { return startPinned(cmd, cpus) })
}

// cpus are the cores of the machine that the container may use: as many as its limit, of those
// of the machine.
func (c *container) cpus() []int {
	all := c.p.host.CPUs
	limit, ok := c.spec.Resources.Limits["cpu"]
	n := int((limit.MilliValue() + 999) / 1000)
	if !ok || n >= len(all) || n == 0 {
		return all
	}
	shift := int(c.p.spec.UID[0]) // some of them for some pods, others for others
	var out []int
	for i := range n {
		out = append(out, all[(shift+i)%len(all)])
	}
	return out
}
