package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// The tools that put a container's file system together; "" where there are none.
var mountTool, chrootTool, nsenterTool = tool("mount"), tool("chroot"), tool("nsenter")

func tool(name string) func() string {
	return sync.OnceValue(func() string {
		for _, dir := range []string{"", "/bin/", "/usr/bin/", "/sbin/", "/usr/sbin/"} {
			if p, err := exec.LookPath(dir + name); err == nil {
				return p
			}
		}
		return ""
	})
}

// mount is one file or folder that a container sees at a place of its own.
type mount struct {
	from, at string // absolute
	file     bool
	readOnly bool
}

// rootPlan writes the shell commands that put a container's file system together on the folder
// root, inside the container's mount namespace. The "image" is this computer's own file system:
// each folder at its top is bound, read-only, into a root that is otherwise empty; /tmp, /run and
// /var/tmp are fresh. Where a mount is to be at a place that does not exist here, the folders on
// the way are made anew and their contents bound one by one, so that nothing is written here.
type rootPlan struct {
	root   string
	mounts []mount
	opened map[string]bool // folders that are made anew
	lines  []string
}

// freshFolders of a container are empty at first. bareFolders are left out.
var (
	freshFolders = []string{"/tmp", "/run"}
	bareFolders  = []string{"/proc", "/dev", "/sys", "/lost+found", "/boot"}
)

// plan makes a file system's folders and gives the commands.
func plan(root string, mounts []mount) ([]string, error) {
	p := &rootPlan{root: root, opened: map[string]bool{"/": true}}
	for _, m := range mounts {
		m.at = resolve(filepath.Clean(m.at))
		for _, no := range []string{"/proc", "/sys", "/dev"} {
			if m.at == no || m.at == "/" {
				return nil, fmt.Errorf("mount at %s: the sandbox keeps that place for itself", m.at)
			}
		}
		p.mounts = append(p.mounts, m)
	}
	slices.SortStableFunc(p.mounts, func(a, b mount) int { return strings.Count(a.at, "/") - strings.Count(b.at, "/") })
	for _, m := range p.mounts {
		p.open(m)
	}
	if err := p.populate("/"); err != nil {
		return nil, err
	}
	for _, d := range append(slices.Clone(freshFolders), "/proc", "/dev", "/sys") {
		if err := os.MkdirAll(root+d, 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(root+"/tmp", 0o777|os.ModeSticky); err != nil {
		return nil, err
	}
	// What programs that look for containers look for.
	if err := os.WriteFile(root+"/.dockerenv", nil, 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(root+"/run/.containerenv", []byte("engine=\"dlx-sandbox\"\n"), 0o644); err != nil { //nolint:gosec // everybody reads it
		return nil, err
	}
	p.do("-t proc proc %s", root+"/proc")
	p.bind("/dev", root+"/dev", false)
	p.bind("/sys", root+"/sys", true)
	if isFolder("/var/tmp") && !p.opened["/var"] && !slices.ContainsFunc(p.mounts, func(m mount) bool { return m.at == "/var" || within(m.at, "/var/tmp") }) {
		if err := os.MkdirAll(root+"/tmp/.var", 0o755); err != nil {
			return nil, err
		}
		p.do("--bind %s %s", root+"/tmp/.var", root+"/var/tmp")
	}
	for _, m := range p.mounts {
		at := quote(root + m.at)
		if m.file {
			p.lines = append(p.lines, fmt.Sprintf("[ -e %s ] || { mkdir -p %s && : >%s; } || fail 'no place for %s'", at, quote(filepath.Dir(root+m.at)), at, m.at))
		} else {
			p.lines = append(p.lines, fmt.Sprintf("[ -d %s ] || mkdir -p %s || fail 'no place for %s'", at, at, m.at))
		}
		p.bind(m.from, root+m.at, m.readOnly)
	}
	return p.lines, nil
}

// within reports whether a path is dir or below it.
func within(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

// resolve follows the links of as much of a path as exists here.
func resolve(p string) string {
	if r, err := filepath.EvalSymlinks(p); err == nil {
		return r
	}
	dir := filepath.Dir(p)
	if dir == p {
		return p
	}
	return filepath.Join(resolve(dir), filepath.Base(p))
}

func isFolder(p string) bool {
	fi, err := os.Stat(p)
	return err == nil && fi.IsDir()
}

// open notes which folders have to be made anew so that a mount has a place.
func (p *rootPlan) open(m mount) {
	if fi, err := os.Stat(m.at); err == nil && fi.IsDir() != m.file {
		return // it covers what is there
	}
	for _, d := range freshFolders {
		if within(m.at, d) {
			return
		}
	}
	for _, o := range p.mounts {
		if o.at != m.at && within(m.at, o.at) {
			return // its place is in another mount
		}
	}
	for d := filepath.Dir(m.at); d != "/"; d = filepath.Dir(d) {
		if isFolder(d) {
			p.opened[d] = true
		}
	}
}

// populate makes a folder anew, with what this computer's has.
func (p *rootPlan) populate(dir string) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(p.root+dir, 0o755); err != nil {
		return err
	}
	for _, e := range list {
		from := filepath.Join(dir, e.Name())
		at := p.root + from
		switch {
		case slices.Contains(freshFolders, from) || slices.Contains(bareFolders, from):
		case e.Type()&os.ModeSymlink != 0:
			target, err := os.Readlink(from)
			if err != nil {
				return err
			}
			if err := os.Symlink(target, at); err != nil {
				return err
			}
		case e.IsDir() && p.opened[from]:
			if err := p.populate(from); err != nil {
				return err
			}
		case e.IsDir():
			if err := os.Mkdir(at, 0o755); err != nil {
				return err
			}
			p.bind(from, at, true)
		case e.Type().IsRegular() && dir != "/":
			if err := os.WriteFile(at, nil, 0o600); err != nil {
				return err
			}
			p.bind(from, at, true)
		}
	}
	return nil
}

// do adds a mount command with quoted paths.
func (p *rootPlan) do(format string, paths ...string) {
	var a []any
	for _, s := range paths {
		a = append(a, quote(s))
	}
	p.lines = append(p.lines, fmt.Sprintf("m "+format, a...))
}

// bind adds the binding of a file or folder with all below it. Where it cannot be made read-only
// (a user namespace may not) it stays writable.
func (p *rootPlan) bind(from, at string, readOnly bool) {
	if readOnly {
		p.lines = append(p.lines, fmt.Sprintf("%s -o rbind,ro %s %s 2>/dev/null || m --rbind %s %s", mountTool(), quote(from), quote(at), quote(from), quote(at)))
		return
	}
	p.do("--rbind %s %s", from, at)
}

// quote makes one word of a shell out of any text.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
