package sandbox

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"slices"
	"strings"
)

// cgroups are the folders of control groups below which each machine gets one of its own. They
// are kept in the state, so that whoever goes on finds the groups that are there, whatever group
// it is in itself.
type cgroups struct {
	Version int               `json:"version"` // 1 or 2
	Folders map[string]string `json:"folders"` // by controller; version 2 has one for all, under ""
}

// cageName names the group of a machine. It begins with what stands for the state folder, since
// IDs of nodes are the same in every sandbox of a computer.
func (s *Server) cageName(id string) string {
	return s.cagesPrefix() + short(id)
}

func (s *Server) cagesPrefix() string { return cagePrefix + short(s.cfg.State) + "-" }

func short(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:6])
}

const (
	cagePrefix = "dlx-machine-"
	// selfName is the group that this program moves to where it stands in its own way.
	selfName = "dlx-self"
)

// cageControllers of version 1: the first limits, and has to be there. The second holds processes
// to their cores even if they ask for others. The third limits nothing (what a flavor says of RAM
// is counted for quota only, and a limit that kills what a cloud would let live makes a wrong
// measurement); it is there so that groups which a launcher makes for its own limits lie below
// the machine's, and go with it.
var cageControllers = []string{"cpu", "cpuset", "memory"}

// ownCgroups finds out of /proc/self/cgroup and /proc/self/mountinfo which groups this program is
// in and where they are mounted: those that could hold machines, the better ones first.
func ownCgroups(own, mounts string) []*cgroups {
	one := &cgroups{Version: 1, Folders: map[string]string{}}
	two := &cgroups{Version: 2, Folders: map[string]string{}}
	for line := range strings.Lines(own) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 {
			continue
		}
		for c := range strings.SplitSeq(f[1], ",") {
			folder := mounted(mounts, c, f[2])
			switch {
			case folder == "":
			case c == "" && filepath.Base(folder) == selfName:
				two.Folders[""] = filepath.Dir(folder)
			case c == "":
				two.Folders[""] = folder
			case slices.Contains(cageControllers, c):
				one.Folders[c] = folder
			}
		}
	}
	var out []*cgroups
	if two.Folders[""] != "" {
		out = append(out, two)
	}
	if one.Folders["cpu"] != "" {
		out = append(out, one)
	}
	return out
}

// mounted is the folder of a group of version 1's controller, or of version 2 where that is
// empty; empty if no mount shows it. The format is that of proc(5).
func mounted(mounts, controller, group string) string {
	for line := range strings.Lines(mounts) {
		before, after, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		at, fs := strings.Fields(before), strings.Fields(after)
		if !ok || len(at) < 5 || len(fs) < 3 {
			continue
		}
		fits := fs[0] == "cgroup2"
		if controller != "" {
			fits = fs[0] == "cgroup" && slices.Contains(strings.Split(fs[2], ","), controller)
		}
		if !fits {
			continue
		}
		// The group is a path of the whole hierarchy, of which the mount shows a part.
		below, ok := strings.CutPrefix(group, strings.TrimSuffix(unescape(at[3]), "/"))
		if ok && (below == "" || below[0] == '/') && !strings.Contains(below+"/", "/../") {
			return filepath.Join(unescape(at[4]), below)
		}
	}
	return ""
}

// unescape gives a path of mountinfo, where blanks stand as \040 and the like.
func unescape(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(path)
}
