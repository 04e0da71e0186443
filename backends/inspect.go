package backends

import (
	"context"
	"time"
)

// A Checker is a [Provider] that can compare what a plan needs with what its cloud has, before
// anything is made.
type Checker interface {
	// Check looks at the live cloud and returns whatever does not fit, in the order of needs; none
	// means that nothing is known that would keep the plan from running. Nothing is made, and nothing
	// that exists is touched: it reads, and may have the cloud judge what it would be asked for. The
	// error is that the cloud could not be asked (a login that is refused, no connection), and findings
	// made until then come with it. What a run of the ID run has of the needs already is not wanted
	// once more; "": none of them is there.
	Check(ctx context.Context, run string, needs []Need) ([]Finding, error)
}

// A Need is what a fleet asks of a cloud. Fleets are up at the same time, as far as the testbed's
// capacity lets them: see [Peak].
type Need struct {
	Fleet    string // its name
	Machines []MachineRequest
	Hosts    Hosts
	Loads    []Load // by machine, what trials put onto it; nil: not known
	Uses     []Use  // of the testbed's capacity; nil: of nothing that is bounded
}

// A Load is what the processes of one trial take of a machine together, the most of all trials.
// Processes that ask for nothing count nothing.
type Load struct {
	Processes int
	CPUs      int
	GPUs      int
	MemoryMiB int
}

// A Use is what a fleet takes of a resource while it is up.
type Use struct {
	Resource string
	Units    int
	Capacity int // so many units there are for all fleets together
}

// A Finding is something that a need asks for and the cloud lacks, or has otherwise.
type Finding struct {
	Need    int    // index among the needs; -1: all of them together, such as a quota
	Machine int    // index among the need's machines; -1: all of them
	Field   string // path in the machine's spec, or, if Need is -1, in the cloud's settings, such as "flavor" or "pod.nodeSelector"; "": none
	Msg     string // what was found, and what would do
	Warning bool   // the plan may run all the same
}

// A Collector is a [Provider] that finds what runs left behind when nobody knows of them any
// more.
type Collector interface {
	// Leftovers lists, sorted by run, fleet, kind and name, every object of every run that this
	// login can see, by the tags that dlx puts onto all that it makes. Objects without such tags
	// are never among them, whatever their names.
	Leftovers(ctx context.Context) ([]Leftover, error)
}

// A Leftover is an object with what its tags say.
type Leftover struct {
	Owner  Owner
	Until  time.Time // after this moment anybody may remove it; zero if it does not say
	Object Object
}
