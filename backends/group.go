package backends

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Group is the processes of one role of a trial: one program, once on each of some machines.
// They differ in their arguments only and are started together.
type Group struct {
	ID        string            // names it in its fleet; [A-Za-z0-9._=,+/-]
	Machines  []Machine         // process i runs on Machines[i]; a machine may come more than once
	Args      [][]string        // of process i, the program first; looked up in PATH if it has no slash
	Env       map[string]string // added to the machine's own
	Timeout   time.Duration     // after this the machine ends a process by itself; 0: never
	CPUs      int               // whole CPUs a process may use; 0: all of the machine
	GPUs      int               // a process
	MemoryMiB int               // a process; 0: no limit

	// The first CPU and GPU of process i, counted from 0 among those of its machine; nil: 0. Those
	// before are other processes' of the trial, so that no two have the same. A cluster hands out
	// its own.
	FirstCPU, FirstGPU []int
}

// A Process is one process of a [Group], with the fields of its group.
type Process struct {
	ID        string
	Args      []string
	Env       map[string]string
	Timeout   time.Duration
	CPUs      int
	GPUs      int
	MemoryMiB int

	FirstCPU, FirstGPU int
}

// ProcessID is the name of process i of a group: its folder, and what Wait, Stop and Open take.
func ProcessID(group string, i int) string { return group + "-" + strconv.Itoa(i) }

// Process is process i of the group.
func (g *Group) Process(i int) Process {
	p := Process{
		ID: ProcessID(g.ID, i), Args: g.Args[i], Env: g.Env, Timeout: g.Timeout,
		CPUs: g.CPUs, GPUs: g.GPUs, MemoryMiB: g.MemoryMiB,
	}
	if g.FirstCPU != nil {
		p.FirstCPU = g.FirstCPU[i]
	}
	if g.FirstGPU != nil {
		p.FirstGPU = g.FirstGPU[i]
	}
	return p
}

// Single is a group of one process on m. p.ID names the group, so that the process is p.ID-0.
func Single(m Machine, p Process) Group {
	return Group{
		ID: p.ID, Machines: []Machine{m}, Args: [][]string{p.Args}, Env: p.Env, Timeout: p.Timeout,
		CPUs: p.CPUs, GPUs: p.GPUs, MemoryMiB: p.MemoryMiB, FirstCPU: []int{p.FirstCPU}, FirstGPU: []int{p.FirstGPU},
	}
}

// Check says, with class Config, what keeps every launcher from starting the group.
func (g *Group) Check() error {
	bad := func(format string, args ...any) error {
		return Errorf(Config, "start "+strconv.Quote(g.ID), format, args...)
	}
	switch {
	case g.ID == "":
		return bad("no ID")
	case len(g.Machines) == 0 || len(g.Machines) != len(g.Args):
		return bad("%d machines and arguments for %d processes", len(g.Machines), len(g.Args))
	case g.FirstCPU != nil && len(g.FirstCPU) != len(g.Args) || g.FirstGPU != nil && len(g.FirstGPU) != len(g.Args):
		return bad("first CPUs and GPUs of %d and %d processes, for %d", len(g.FirstCPU), len(g.FirstGPU), len(g.Args))
	case slices.ContainsFunc(append(slices.Clone(g.FirstCPU), g.FirstGPU...), func(n int) bool { return n < 0 }):
		return bad("negative first CPU or GPU")
	case g.CPUs < 0 || g.GPUs < 0 || g.MemoryMiB < 0 || g.Timeout < 0:
		return bad("negative limit")
	}
	for _, args := range g.Args {
		switch {
		case len(args) == 0 || args[0] == "":
			return bad("no program")
		case strings.HasPrefix(args[0], "-"):
			return bad("program %q: a name may not begin with '-'", args[0])
		}
		for i, a := range args {
			if strings.ContainsRune(a, 0) {
				return bad("argument %d holds a zero byte", i)
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(g.Env)) {
		if err := checkVariable(k, g.Env[k]); err != nil {
			return bad("%w", err)
		}
	}
	return nil
}

// checkVariable refuses what a POSIX shell cannot set.
func checkVariable(name, value string) error {
	for i := range len(name) {
		switch c := name[i]; {
		case c == '_', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', i > 0 && '0' <= c && c <= '9':
		default:
			return fmt.Errorf("environment variable %q: not a name that a shell can set", name)
		}
	}
	switch {
	case name == "":
		return fmt.Errorf("an environment variable has no name")
	case strings.ContainsRune(value, 0):
		return fmt.Errorf("environment variable %s holds a zero byte", name)
	}
	return nil
}
