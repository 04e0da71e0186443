package executor_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/memory"
	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor"
	"dlx.dev/dlx/executor/journal"
)

// A world is a plan and the cloud it meets, scripted line by line:
//
//	capacity hosts=2          what may be in use at a time
//	repeats 3
//	attempts 2
//	fleet vm-1 hosts=1        a fleet and what it uses
//	cell single/m=a vm-1      a cell; further words name roles: ps:stopped
//	boot vm-1 90s             how long booting takes; "fail CLASS N" fails the first N times
//	remove vm-1 5s            the same for the release
//	run single/m=a 30s        how long the program runs; "exit N" is its code; "fail CLASS N" as above
//	run bg@single/m=a 30s     the same of another role, which is steady after 5.1 s; without it: until it is stopped
//	queue single/m=a 3h       how long its worker waits for its turn before it may start
//	at 100s drain             or stop (now)
type world struct {
	plan   *plan.Plan
	boot   map[string]*script
	remove map[string]*script
	run    map[string]*script
	queue  map[string]*script
	at     map[string]time.Duration

	mu    sync.Mutex
	cloud *memory.Cloud
}

type script struct {
	takes time.Duration
	class backends.Class
	fails int
	exit  int
}

// next consumes one use of a script.
func (w *world) next(m map[string]*script, name string) (time.Duration, int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := m[name]
	if s == nil {
		return jitter(name), 0, nil
	}
	if s.fails > 0 {
		s.fails--
		return s.takes + jitter(name), 0, backends.Errorf(s.class, "scripted", "no luck for %s", name)
	}
	return s.takes + jitter(name), s.exit, nil
}

// jitter gives each name a latency of its own, so that no two things happen at one instant and
// traces are the same in every run.
func jitter(name string) time.Duration {
	h := fnv.New32a()
	h.Write([]byte(name))
	return time.Duration(h.Sum32()%900+50) * time.Millisecond
}

func parseWorld(t *testing.T, text string) *world {
	t.Helper()
	w := &world{boot: map[string]*script{}, remove: map[string]*script{}, run: map[string]*script{}, queue: map[string]*script{}, at: map[string]time.Duration{}}
	limit := plan.Limit{Timeout: plan.Duration(time.Hour), Attempts: 3, Backoff: plan.Duration(2 * time.Second), MaxWait: plan.Duration(time.Minute)}
	p := &plan.Plan{
		Format: plan.Format, Study: "test", Testbed: "memory", Repeats: 1, Clouds: []plan.Cloud{{Name: "c", Backend: "memory"}},
		Workload: plan.Workload{Kind: "command", Parser: "pattern"},
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		switch f[0] {
		case "capacity":
			p.Capacity = amounts(t, f[1:])
		case "repeats":
			p.Repeats, _ = strconv.Atoi(f[1])
		case "attempts":
			limit.Attempts, _ = strconv.Atoi(f[1])
		case "fleet":
			p.Fleets = append(p.Fleets, plan.Fleet{
				Name: f[1], Cloud: "c", Orchestration: "vm", Machines: []plan.Machine{{Name: "m0", Spec: []byte("{}")}}, Uses: amounts(t, f[2:]),
			})
		case "cell":
			c := plan.Cell{Name: f[1], Key: "key-of-" + f[1], Roles: []plan.Role{role("worker", plan.Exits)}}
			c.Fleet = slices.IndexFunc(p.Fleets, func(x plan.Fleet) bool { return x.Name == f[2] })
			for _, r := range f[3:] {
				name, finish, _ := strings.Cut(r, ":")
				c.Roles = append(c.Roles, role(name, finish))
			}
			p.Cells = append(p.Cells, c)
		case "boot", "remove", "run", "queue":
			parseScript(t, map[string]map[string]*script{"boot": w.boot, "remove": w.remove, "run": w.run, "queue": w.queue}[f[0]], f[1:])
		case "at":
			d, err := time.ParseDuration(f[1])
			if err != nil {
				t.Fatal(err)
			}
			w.at[f[2]] = d
		default:
			t.Fatalf("world: unknown line %q", line)
		}
	}
	p.Policy = plan.Policy{Provision: limit, Stage: limit, Trial: limit, Release: limit}
	steps(p)
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	w.plan = p
	w.cloud = memory.New(memory.Config{
		Boot: func(o backends.Owner, _ backends.MachineRequest) (time.Duration, error) {
			d, _, err := w.next(w.boot, o.Fleet)
			return d, err
		},
		Remove: func(o backends.Owner) (time.Duration, error) { d, _, err := w.next(w.remove, o.Fleet); return d, err },
		Run:    w.process,
		Queue:  w.turn,
		Fault:  w.fault,
	})
	return w
}

// process runs "worker cell": it takes what the world says. Servers run until they are stopped.
func (w *world) process(ctx context.Context, _ backends.Machine, p backends.Process, stdout, _ io.Writer) int {
	name := cellOf(p.ID)
	if role := p.Args[0]; role != "worker" {
		if w.run[role+"@"+name] == nil {
			fmt.Fprintln(stdout, "steady")
			<-ctx.Done()
			return 143
		}
		name = role + "@" + name
		time.AfterFunc(5100*time.Millisecond, func() { fmt.Fprintln(stdout, "steady") })
	}
	d, exit, _ := w.next(w.run, name)
	select {
	case <-time.After(d):
		fmt.Fprintln(stdout, "total images/sec: 100.00")
		return exit
	case <-ctx.Done():
		return 143
	}
}

// turn is how long a group waits for its turn.
func (w *world) turn(g backends.Group) time.Duration {
	id := backends.ProcessID(g.ID, 0)
	if s := w.queue[cellOf(id)]; s != nil && strings.Contains(id, "worker") {
		return s.takes
	}
	return 0
}

// fault makes launches fail as the world says.
func (w *world) fault(op string, _ backends.Machine, id string) error {
	w.mu.Lock()
	s := w.run[cellOf(id)]
	fails := s != nil && s.fails > 0
	w.mu.Unlock()
	if op == "start" && fails && strings.Contains(id, "worker") {
		_, _, err := w.next(w.run, cellOf(id))
		return err
	}
	return nil
}

// cellOf cuts the cell out of a process ID: cell/rN/key-aN/role-i.
func cellOf(id string) string {
	parts := strings.Split(id, "/")
	if len(parts) < 4 {
		return id
	}
	return strings.Join(parts[:len(parts)-3], "/")
}

func role(name, finish string) plan.Role {
	return plan.Role{Name: name, Finish: finish, Machines: []int{0}, Args: []plan.Arg{{Text: name}}}
}

func parseScript(t *testing.T, to map[string]*script, f []string) {
	t.Helper()
	s := &script{}
	for i := 1; i < len(f); i++ {
		switch f[i] {
		case "fail":
			s.class = backends.Class(f[i+1])
			s.fails, _ = strconv.Atoi(f[i+2])
			i += 2
		case "exit":
			s.exit, _ = strconv.Atoi(f[i+1])
			i++
		default:
			d, err := time.ParseDuration(f[i])
			if err != nil {
				t.Fatal(err)
			}
			s.takes = d
		}
	}
	to[f[0]] = s
}

func amounts(t *testing.T, words []string) []plan.Amount {
	t.Helper()
	var out []plan.Amount
	for _, word := range words {
		name, n, _ := strings.Cut(word, "=")
		units, err := strconv.Atoi(n)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, plan.Amount{Resource: name, Units: units})
	}
	return out
}

// steps makes the DAG: provisions, trials repeat by repeat, releases.
func steps(p *plan.Plan) {
	for f := range p.Fleets {
		p.Steps = append(p.Steps, plan.Step{Kind: plan.Provision, Fleet: int32(f)})
	}
	for r := 1; r <= p.Repeats; r++ {
		for c := range p.Cells {
			f := p.Cells[c].Fleet
			p.Steps = append(p.Steps, plan.Step{Kind: plan.Trial, Fleet: int32(f), Cell: int32(c), Repeat: int32(r), After: []int32{int32(f)}})
		}
	}
	for f := range p.Fleets {
		p.Steps = append(p.Steps, plan.Step{Kind: plan.Release, Fleet: int32(f)})
	}
}

// A session is one process of a run: it opens the journal, executes, and goes.
type session struct {
	w     *world
	dir   string
	opt   func(*executor.Options)
	trace strings.Builder
}

var errStop = errors.New("stopped by the test")

func (s *session) run(t *testing.T) (*executor.Outcome, error) {
	t.Helper()
	h := journal.NewHistory()
	j, err := journal.Open(filepath.Join(s.dir, "journal.jsonl"), h.Fold)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	drain := make(chan struct{})
	if d, ok := s.w.at["drain"]; ok {
		defer time.AfterFunc(d, func() { close(drain) }).Stop()
	}
	if d, ok := s.w.at["stop"]; ok {
		defer time.AfterFunc(d, func() { cancel(errStop) }).Stop()
	}
	begun := time.Now()
	o := executor.Options{
		Run: "r1", Dir: s.dir, Version: "test", Backends: map[string]*backends.Backend{"c": s.w.cloud.Backend()},
		Journal: j, History: h, Parse: readTotal, Drain: drain,
		Steady:   func(_ *plan.Plan, out []byte) bool { return strings.HasPrefix(string(out), "steady\n") },
		Progress: func(ev journal.Event) { fmt.Fprintln(&s.trace, traceLine(time.Since(begun), ev)) },
	}
	if s.opt != nil {
		s.opt(&o)
	}
	return executor.Execute(ctx, s.w.plan, o)
}

// readTotal is a parser of one line.
func readTotal(tr executor.Trial) (executor.Reading, error) {
	f := tr.Procs[len(tr.Procs)-1].Files[0]
	b, err := os.ReadFile(filepath.Join(tr.Dir, filepath.FromSlash(f.Name)))
	if err != nil {
		return executor.Reading{}, err
	}
	if !strings.HasPrefix(string(b), "total images/sec: ") {
		return executor.Reading{}, errors.New("no total")
	}
	return executor.Reading{Observations: []journal.Observation{{Metric: "throughput", Value: 100, Unit: "images/s", File: f.Name, Line: 1}}}, nil
}

func traceLine(at time.Duration, ev journal.Event) string {
	line := fmt.Sprintf("%8.1fs %-8s %s", at.Seconds(), ev.Kind, ev.Step)
	if ev.Attempt > 0 {
		line += fmt.Sprintf(" #%d", ev.Attempt)
	}
	if ev.State != "" {
		line += " " + string(ev.State)
	}
	for _, p := range ev.Procs {
		if p.Covered != nil {
			line += fmt.Sprintf(" %s covered %.2f", p.Role, *p.Covered)
		}
	}
	for _, s := range ev.Spans {
		if s.Name == "queue" {
			line += fmt.Sprintf(" queued for %v", s.Took)
		}
	}
	if ev.Class != "" {
		line += " " + string(ev.Class) + ": " + ev.Error
	}
	return line
}

func summary(o *executor.Outcome, err error) string {
	return fmt.Sprintf("trials %d done %d (reused %d) failed %d skipped %d canceled %d left %d err %v\n",
		o.Trials, o.Done, o.Reused, o.Failed, o.Skipped, o.Canceled, len(o.Left), err)
}
