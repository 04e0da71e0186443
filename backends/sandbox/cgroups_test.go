package sandbox

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOwnCgroups(t *testing.T) {
	const (
		v1 = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n" +
			"34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
			"36 31 0:33 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
		v2 = "28 23 0:24 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
	)
	one := func(cpu, cpuset, memory string) *cgroups {
		return &cgroups{Version: 1, Folders: map[string]string{"cpu": cpu, "cpuset": cpuset, "memory": memory}}
	}
	two := func(dir string) *cgroups { return &cgroups{Version: 2, Folders: map[string]string{"": dir}} }
	for name, c := range map[string]struct {
		own, mounts string
		want        []*cgroups
	}{
		"version 2":                          {"0::/user.slice/a.scope\n", v2, []*cgroups{two("/sys/fs/cgroup/user.slice/a.scope")}},
		"version 2 at the root":              {"0::/\n", v2, []*cgroups{two("/sys/fs/cgroup")}},
		"this program has made room already": {"0::/a.scope/dlx-self\n", v2, []*cgroups{two("/sys/fs/cgroup/a.scope")}},
		"version 1, controllers together and apart": {"4:memory:/m\n3:cpuset:/\n2:cpu,cpuacct:/a\n1:pids:/x\n", v1,
			[]*cgroups{one("/sys/fs/cgroup/cpu,cpuacct/a", "/sys/fs/cgroup/cpuset", "/sys/fs/cgroup/memory/m")}},
		"both": {"4:memory:/\n3:cpuset:/\n2:cpu,cpuacct:/\n0::/\n", v1 + "38 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
			[]*cgroups{two("/sys/fs/cgroup/unified"), one("/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpuset", "/sys/fs/cgroup/memory")}},
		"version 1 without cpu": {"4:memory:/\n3:cpuset:/\n", v1, nil},
		"a container sees a part of the hierarchy": {"0::/docker/1f/job\n", "28 23 0:24 /docker/1f /sys/fs/cgroup rw - cgroup2 cgroup rw\n",
			[]*cgroups{two("/sys/fs/cgroup/job")}},
		"the part is not of this program":     {"0::/docker/1f2\n", "28 23 0:24 /docker/1f /sys/fs/cgroup rw - cgroup2 cgroup rw\n", nil},
		"outside of the namespace":            {"0::/../other\n", v2, nil},
		"a second mount shows what one hides": {"0::/b\n", "27 23 0:24 /a /mnt rw - cgroup2 cgroup rw\n" + v2, []*cgroups{two("/sys/fs/cgroup/b")}},
		"blanks in paths":                     {"0::/a b\n", `28 23 0:24 / /mnt/my\040groups rw - cgroup2 cgroup rw`, []*cgroups{two("/mnt/my groups/a b")}},
		"nothing":                             {"", "", nil},
		"no tables at all":                    {"cgroup\n1:2\n::\n", "1 2 3\n - \n1 2 3 4 5 - cgroup2\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, ownCgroups(c.own, c.mounts)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestCagesOfTwoSandboxesAreApart(t *testing.T) {
	a, b := &Server{cfg: Config{State: "/a"}}, &Server{cfg: Config{State: "/b"}}
	if a.cageName("node-1") == b.cageName("node-1") || a.cageName("node-1") == a.cageName("node-2") {
		t.Error("two machines have one group")
	}
	if got, want := a.cageName("node-1"), a.cageName("node-1"); got != want {
		t.Errorf("got %s, then %s", want, got)
	}
}
