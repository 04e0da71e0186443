package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A cage is the control group of a machine. All its processes begin their lives in it.
type cage struct {
	version int
	folders []string // of version 1: one a controller
	limit   string   // what the group is limited to, in words
}

// cagePeriod is the time, in microseconds, in which a machine may use its cores once: the
// kernel's default.
const cagePeriod = 100000

// cage makes the group of a machine, or finds the one that is there. nil: there is none, and
// affinity alone holds the machine to its cores. The caller holds s.mu.
func (s *Server) cage(id string, cpus []int) *cage {
	name := s.cageName(id)
	if g := s.st.Cgroups; g != nil {
		c, err := openCage(g, name, cpus)
		if err == nil {
			return c
		}
		s.cfg.Log("sandbox: %s: no control group: %v", id, err)
		if g.there() {
			return nil // other machines are in these folders still
		}
	}
	for _, g := range candidates() {
		s.st.Cgroups = g
		s.save() // before anything is made there
		c, err := openCage(g, name, cpus)
		if err == nil {
			return c
		}
		s.cfg.Log("sandbox: %s: no control group of version %d: %v", id, g.Version, err)
	}
	s.st.Cgroups = nil
	return nil
}

// candidates are the groups that could hold machines; none where /proc says nothing.
func candidates() []*cgroups {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	return ownCgroups(string(own), string(mounts))
}

// Groups lists the control groups of the machines of this sandbox's state folder.
func (s *Server) Groups() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	where := []*cgroups{s.st.Cgroups}
	if s.st.Cgroups == nil {
		where = candidates()
	}
	var out []string
	for _, g := range where {
		for _, above := range g.Folders {
			found, _ := filepath.Glob(filepath.Join(above, s.cagesPrefix()+"*"))
			out = append(out, found...)
		}
	}
	return out
}

// uncage ends all that runs in the group of a machine and removes it. With the last machine goes
// what was changed above the groups.
func (s *Server) uncage(id string) {
	s.mu.Lock()
	g := s.st.Cgroups
	s.mu.Unlock()
	if g == nil {
		return
	}
	if err := g.remove(s.cageName(id)); err != nil {
		s.cfg.Log("sandbox: %s: control group: %v", id, err)
	}
	g.leave()
}

func (g *cgroups) there() bool {
	for _, f := range g.Folders {
		if _, err := os.Stat(f); err == nil {
			return true
		}
	}
	return false
}

// openCage makes a group with its limits and tries it out. What it made is removed if it fails.
func openCage(g *cgroups, name string, cpus []int) (c *cage, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, g.remove(name))
			g.leave()
		}
	}()
	if g.Version == 2 {
		c, err = openCage2(g.Folders[""], name, cpus)
	} else {
		c, err = openCage1(g, name, cpus)
	}
	if err != nil {
		return nil, err
	}
	// Whether a process may be put there, only trying tells.
	trial := exec.Command("/bin/sh", "-c", ":") //nolint:noctx // it ends at once
	if err := c.start(trial, trial.Start); err != nil {
		return nil, err
	}
	if err := trial.Wait(); err != nil {
		return nil, fmt.Errorf("a process in %s: %w", c.folders[0], err)
	}
	return c, nil
}

func openCage1(g *cgroups, name string, cpus []int) (*cage, error) {
	quota, period := strconv.Itoa(len(cpus)*cagePeriod), strconv.Itoa(cagePeriod)
	c := &cage{version: 1, limit: "cgroup1 cpu.cfs_quota_us " + quota + " cpu.cfs_period_us " + period}
	for _, controller := range cageControllers {
		above := g.Folders[controller]
		if above == "" {
			continue
		}
		dir := filepath.Join(above, name)
		err := makeGroup(dir)
		switch {
		case err != nil:
		case controller == "cpu":
			if err = set(dir, "cpu.cfs_period_us", period); err == nil {
				err = set(dir, "cpu.cfs_quota_us", quota)
			}
		case controller == "cpuset":
			if err = setCPUs(above, dir, cpus); err == nil {
				c.limit += " cpuset.cpus " + joinInts(cpus)
			}
		}
		switch {
		case err == nil:
			c.folders = append(c.folders, dir)
		case controller == "cpu":
			return nil, err
		default: // it goes without
			_ = syscall.Rmdir(dir)
		}
	}
	return c, nil
}

// setCPUs gives cores to a group of version 1, and all memory of the one above: nothing may run
// in a group that has none.
func setCPUs(above, dir string, cpus []int) error {
	mems, err := os.ReadFile(filepath.Join(above, "cpuset.mems"))
	if err != nil {
		return err
	}
	if err := set(dir, "cpuset.mems", strings.TrimSpace(string(mems))); err != nil {
		return err
	}
	return set(dir, "cpuset.cpus", joinInts(cpus))
}

func openCage2(above, name string, cpus []int) (*cage, error) {
	self.Lock()
	defer self.Unlock()
	if err := delegate(above); err != nil {
		return nil, err
	}
	quota := fmt.Sprint(len(cpus)*cagePeriod, " ", cagePeriod)
	dir := filepath.Join(above, name)
	if err := makeGroup(dir); err != nil {
		return nil, err
	}
	if err := set(dir, "cpu.max", quota); err != nil {
		return nil, err
	}
	c := &cage{version: 2, folders: []string{dir}, limit: "cgroup2 cpu.max " + quota}
	if set(dir, "cpuset.cpus", joinInts(cpus)) == nil { // where it is delegated as well
		c.limit += " cpuset.cpus " + joinInts(cpus)
	}
	return c, nil
}

func makeGroup(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// set writes a control file, which is there or not: it is never made.
func set(dir, file, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// joiner puts a shell into the groups of version 1 before it becomes the command. (The kernel
// puts a process into a group of version 2 as it makes it.)
const joiner = `for f; do echo $$ >"$f/cgroup.procs" || exit 126; done; exec /bin/sh -c "$0"`

// start starts `/bin/sh -c command` in the cage, by means of f, which starts cmd.
func (c *cage) start(cmd *exec.Cmd, f func() error) error {
	switch {
	case c == nil:
		return f()
	case c.version == 1:
		cmd.Args = append([]string{cmd.Args[0], "-c", joiner, cmd.Args[2]}, c.folders...)
		return f()
	}
	fd, err := unix.Open(c.folders[0], unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: c.folders[0], Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, fd
	return f()
}

// remove kills what is in the groups of a machine, and in those below, until they can be removed.
func (g *cgroups) remove(name string) error {
	const rounds = 1000 // of 10 ms: nothing that was killed takes so long, unless its disk hangs
	for range rounds {
		var groups []string
		for _, above := range g.Folders {
			groups = append(groups, groupsOf(filepath.Join(above, name))...)
		}
		if len(groups) == 0 {
			return nil
		}
		for _, dir := range groups {
			if set(dir, "cgroup.kill", "1") != nil { // version 2, since Linux 5.14
				kill(dir)
			}
		}
		left := false
		for _, dir := range groups {
			if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				left = true
			}
		}
		if left {
			_, _ = unix.Poll(nil, 10) // real time: a test's may stand still
		}
	}
	return fmt.Errorf("%s: it cannot be removed", name)
}

// groupsOf lists a group and all below, the lowest first.
func groupsOf(dir string) []string {
	var out []string
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			out = append(out, path)
		}
		return nil
	})
	slices.Reverse(out)
	return out
}

func kill(dir string) {
	for _, pid := range members(dir) {
		if pid > 0 && pid != os.Getpid() { // 0: it is of another namespace
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// members lists the processes of a group.
func members(dir string) []int {
	b, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	var out []int
	for line := range strings.FieldsSeq(string(b)) {
		if pid, err := strconv.Atoi(line); err == nil {
			out = append(out, pid)
		}
	}
	return out
}

// self guards the group that this program is in.
var self sync.Mutex

// delegate lets groups below dir have limits. A group of version 2 that has processes may not do
// so, unless it is the root (cgroups(7), "no internal processes"); where this program is the only
// one, it makes room. The kernel itself does not refuse: it makes the groups below useless.
func delegate(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	if !slices.Contains(strings.Fields(string(b)), "cpu") {
		return fmt.Errorf("%s: the controller cpu is not there", dir)
	}
	if in := members(dir); len(in) > 0 && !root(dir) {
		if !slices.Equal(in, []int{os.Getpid()}) {
			return fmt.Errorf("%s: processes %v are in it: start dlx in a group of its own", dir, in)
		}
		leaf := filepath.Join(dir, selfName)
		if err := makeGroup(leaf); err != nil {
			return err
		}
		if err := set(leaf, "cgroup.procs", strconv.Itoa(os.Getpid())); err != nil {
			return err
		}
	}
	if err := enable(dir, "cpu"); err != nil {
		return err
	}
	_ = enable(dir, "cpuset") // welcome, and affinity does it as well
	return nil
}

// root reports whether a group of version 2 is the kernel's root, which has no type.
func root(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "cgroup.type"))
	return errors.Is(err, fs.ErrNotExist)
}

func enable(dir, controller string) error {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil || slices.Contains(strings.Fields(string(b)), controller) {
		return err
	}
	return set(dir, "cgroup.subtree_control", "+"+controller)
}

// leave undoes delegate where this program, or one that died, had made room, when no machine is left.
func (g *cgroups) leave() {
	if g.Version != 2 {
		return
	}
	dir := g.Folders[""]
	leaf := filepath.Join(dir, selfName)
	self.Lock()
	defer self.Unlock()
	cages, _ := filepath.Glob(filepath.Join(dir, cagePrefix+"*"))
	if _, err := os.Stat(leaf); err != nil || len(cages) > 0 {
		return
	}
	for _, c := range []string{"cpuset", "cpu"} {
		_ = set(dir, "cgroup.subtree_control", "-"+c)
	}
	for _, pid := range members(leaf) {
		_ = set(dir, "cgroup.procs", strconv.Itoa(pid))
	}
	_ = syscall.Rmdir(leaf)
}
