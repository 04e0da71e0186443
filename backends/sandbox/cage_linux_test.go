package sandbox

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// realCgroups gives the folders that this test program may make groups in.
func realCgroups(t *testing.T) *cgroups {
	t.Helper()
	s := &Server{cfg: Config{State: t.TempDir(), Log: t.Logf}, st: &state{}}
	c := s.cage("trial", []int{allowedCPUs()[0]})
	s.uncage("trial")
	if c != nil {
		return s.st.Cgroups
	}
	const why = "no control group with a CPU limit can be made here"
	if slices.Contains(strings.Split(os.Getenv("DLX_TEST_REQUIRE"), ","), "cgroups") {
		t.Fatalf("%s, and DLX_TEST_REQUIRE demands it", why)
	}
	t.Skipf("%s; DLX_TEST_REQUIRE=cgroups demands it", why)
	return nil
}

// caged is a sandbox with one machine that is up, without its login.
func caged(t *testing.T, state string, g *cgroups) (*Server, *machine) {
	t.Helper()
	st, err := loadState(state)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{cfg: Config{State: state, Log: t.Logf}, st: st, machines: map[string]*machine{}}
	if g != nil {
		st.Cgroups = g
	}
	s.st.Nodes["n"] = &node{ID: "n"}
	m := &machine{id: "n", home: s.home("n"), cpus: []int{allowedCPUs()[0]}, log: t.Logf}
	if err := os.MkdirAll(m.home, 0o700); err != nil {
		t.Fatal(err)
	}
	m.cage = s.cage("n", m.cpus)
	return s, m
}

// run runs a command on the machine as a login does, to its end.
func (m *machine) run(t *testing.T, command string) string {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", command)
	cmd.Dir, cmd.Env = m.home, m.environment()
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	err := m.cage.start(cmd, func() error { return startPinned(cmd, m.cpus) })
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		t.Errorf("%s: %v\n%s", command, err, out.String())
	}
	return out.String()
}

func groupsLeft(g *cgroups, name string) []string {
	var out []string
	for _, above := range g.Folders {
		out = append(out, groupsOf(filepath.Join(above, name))...)
	}
	return out
}

func TestAProcessIsLimitedByTheGroupOfItsMachine(t *testing.T) {
	g := realCgroups(t)
	s, m := caged(t, t.TempDir(), g)
	defer s.uncage("n")
	if m.cage == nil {
		t.Fatal("the machine has no group")
	}
	// What the process says of itself, by the tables alone.
	own := ownCgroups(m.run(t, "cat /proc/self/cgroup"), m.run(t, "cat /proc/self/mountinfo"))
	i := slices.IndexFunc(own, func(c *cgroups) bool { return c.Version == g.Version })
	if i < 0 {
		t.Fatalf("the process is in %v", own)
	}
	for controller, above := range g.Folders {
		dir := filepath.Join(above, s.cageName("n"))
		if !slices.Contains(m.cage.folders, dir) {
			t.Logf("not used: %q", controller)
		} else if got := own[i].Folders[controller]; got != dir {
			t.Errorf("controller %q: the process is in %s; want %s", controller, got, dir)
		}
	}
	want := map[string]string{"cpu.max": "100000 100000"}
	if g.Version == 1 {
		want = map[string]string{"cpu.cfs_quota_us": "100000", "cpu.cfs_period_us": "100000"}
	}
	for file, value := range want {
		if got := strings.TrimSpace(m.run(t, "cat "+m.cage.folders[0]+"/"+file)); got != value {
			t.Errorf("%s: got %s; want %s", file, got, value)
		}
		if !strings.Contains(m.cage.limit, file+" "+value) {
			t.Errorf("%s: the limit says %q", file, m.cage.limit)
		}
	}
	if got := m.run(t, "nproc"); got != "1\n" {
		t.Errorf("nproc: got %s", got)
	}
	if got := m.run(t, `printf '%s,' "$0" "$HOME" "it's"`); got != "/bin/sh,"+m.home+",it's," {
		t.Errorf("got %q", got)
	}
}

func TestTheGroupGoesWithItsMachine(t *testing.T) {
	g := realCgroups(t)
	dir := t.TempDir()
	s, m := caged(t, dir, g)
	// Nothing marks the process, and somebody made groups below.
	m.run(t, "cd /; env -i HOME=/ setsid sleep 3600 >/dev/null 2>&1 &")
	var running []int
	for _, d := range m.cage.folders {
		running = append(running, members(d)...)
		if err := makeGroup(filepath.Join(d, "below")); err != nil {
			t.Error(err)
		}
	}
	if len(running) == 0 {
		t.Fatal("nothing runs in the group")
	}
	s.save()
	// The program dies here: all that is left is the state, the group and the process.
	again, m2 := caged(t, dir, nil)
	if m2.cage == nil || !slices.Equal(m2.cage.folders, m.cage.folders) || m2.cage.limit != m.cage.limit {
		t.Errorf("a new process found %+v; want %+v", m2.cage, m.cage)
	}
	if got := members(m2.cage.folders[0]); len(got) == 0 {
		t.Error("a new process found none of the machine's")
	}
	again.uncage("n")
	if left := groupsLeft(g, s.cageName("n")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	for _, pid := range running {
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && !strings.Contains(string(b), ") Z ") {
			t.Errorf("process %d runs on: %s", pid, b)
		}
	}
	again.uncage("n") // nothing left is no error
}

func TestWithoutGroupsAffinityHolds(t *testing.T) {
	fake := t.TempDir() // a folder without control files
	for _, g := range []*cgroups{
		{Version: 1, Folders: map[string]string{"cpu": fake, "cpuset": fake}}, {Version: 2, Folders: map[string]string{"": fake}},
	} {
		s, m := caged(t, t.TempDir(), g)
		s.machines["n"] = m
		if m.cage != nil || s.limit("n") != "affinity" {
			t.Errorf("version %d: got %+v, %q", g.Version, m.cage, s.limit("n"))
		}
		if got := m.run(t, "nproc"); got != "1\n" {
			t.Errorf("nproc: got %s", got)
		}
	}
	if left, err := os.ReadDir(fake); len(left) > 0 || err != nil {
		t.Errorf("left: %v, %v", left, err)
	}
}

// tree is version 2 as far as files can play it: every group has the control files.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestVersion2(t *testing.T) {
	dir := tree(t, map[string]string{"cgroup.controllers": "cpuset cpu\n", "cgroup.subtree_control": "cpu memory\n", "dlx-machine-1/cpu.max": "", "dlx-machine-1/cpuset.cpus": ""})
	c, err := openCage2(dir, "dlx-machine-1", []int{2, 3})
	if err != nil {
		t.Fatal(err)
	}
	if want := "cgroup2 cpu.max 200000 100000 cpuset.cpus 2,3"; c.limit != want {
		t.Errorf("got %q; want %q", c.limit, want)
	}
	for file, want := range map[string]string{"dlx-machine-1/cpu.max": "200000 100000", "dlx-machine-1/cpuset.cpus": "2,3"} {
		if b, err := os.ReadFile(filepath.Join(dir, file)); string(b) != want || err != nil {
			t.Errorf("%s: got %q, %v; want %q", file, b, err, want)
		}
	}
	dir = tree(t, map[string]string{"cgroup.controllers": "cpuset cpu\n", "cgroup.subtree_control": "cpu memory\n", "dlx-machine-1/cpu.max": ""})
	if c, err := openCage2(dir, "dlx-machine-1", []int{0}); err != nil || c.limit != "cgroup2 cpu.max 100000 100000" {
		t.Errorf("without cpuset: got %+v, %v", c, err)
	}
	dir = tree(t, map[string]string{"cgroup.controllers": "cpuset memory\n", "cgroup.subtree_control": "", "m/cpu.max": ""})
	if c, err := openCage2(dir, "m", []int{0}); err == nil || !strings.Contains(err.Error(), "controller cpu is not there") {
		t.Errorf("without cpu: got %+v, %v", c, err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control")); len(b) > 0 || err != nil {
		t.Errorf("without cpu: wrote %q, %v", b, err)
	}
}

func TestStateKeepsTheFolders(t *testing.T) {
	b, err := json.Marshal(state{Cgroups: &cgroups{Version: 2, Folders: map[string]string{"": "/x"}}})
	if want := `{"port":0,"next":0,"cgroups":{"version":2,"folders":{"":"/x"}}}`; string(b) != want || err != nil {
		t.Errorf("got %s, %v", b, err)
	}
}
