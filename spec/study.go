package spec

import (
	"encoding/json"
	"time"

	"dlx.dev/dlx/spec/diag"
)

// A Study is what the user wrote, checked against the schema and free of CUE. Every part that a
// later stage can complain about carries the place of its line.
//
// Nothing here is expanded: the compiler makes cells of it.
type Study struct {
	Name      string // a DNS label: it names the run folder and, shortened, cloud objects
	Title     string
	Axes      []Axis // in the order written
	Blocks    []Block
	Exclude   []Exclusion
	Workload  Workload
	Datasets  []Dataset // by name; "synthetic" is always known and never listed
	Repeats   int       // trials a cell, at least 1
	RepeatsAt diag.Pos
	Order     Order
	Metrics   []Metric // by name
	Figures   []Figure // by name
	Labels    []Label  // by axis and value
	Reference *Reference
	Pos       diag.Pos

	// Incomplete says that a part was left out because a mistake was reported for it: what
	// follows only from something being absent must not be reported as well.
	Incomplete bool
}

// An Axis is one dimension of the matrix.
type Axis struct {
	Name   string
	Values []Value
	When   []Condition // the axis exists only in cells that meet all of these; nil: everywhere
	Pos    diag.Pos
}

// A Value is one value of an axis: a string, integer, decimal number or boolean of CUE in its
// one canonical text. Text matches [A-Za-z0-9][A-Za-z0-9._+-]* so that it can stand in file
// names, tags and spreadsheets as it is.
type Value struct {
	Text   string
	Number bool // it was a number in CUE, and is one in the tables
	Pos    diag.Pos
}

// A Condition restricts one axis to some of its values.
type Condition struct {
	Axis   string
	Values []Value // any of these
	Pos    diag.Pos
}

// A Block is one scenario: a named part of the matrix. Its name is part of the names of its
// cells, so that two blocks may hold the same values and still mean two cells.
type Block struct {
	Name    string
	Where   []Condition // picks values of the study's axes
	With    []Axis      // axes of this block alone, or in place of a study's axis of that name
	Zip     []Axis      // axes of equal length that advance together; they replace axes of their names
	Include [][]Setting // further cells: each fixes some axes, also to values the axes lack; the rest stays a product
	Pos     diag.Pos
}

// A Setting is one axis at one value.
type Setting struct {
	Axis  string
	Value Value
	Pos   diag.Pos
}

// An Exclusion takes cells out of the matrix. Its reason reaches the tables as a footnote.
type Exclusion struct {
	Block  string // empty: all blocks
	Where  []Condition
	Reason string
	Pos    diag.Pos
}

// Workload kinds.
const (
	TFCNN    = "tf_cnn_benchmarks" // upstream's program on the machine
	CNNBench = "cnnbench"          // dlx's stand-in for it on CPUs, staged onto the machine
	Command  = "command"           // any program; metrics by patterns
)

// A Workload is the program that roles run.
type Workload struct {
	Kind      string
	Program   []string  // what comes before the flags; empty for CNNBench, which dlx stages itself
	Flags     []Setting // Setting.Axis is the flag's name; in the order of names
	Bind      []Binding
	Overrides []Override
	Roles     []Role
	Env       []Setting
	Patterns  []Pattern // Command only
	Hosts     string    // how the machines of a trial stand on hosts: AnyHosts or DifferentHosts
	Pos       diag.Pos
}

// Ways to stand on hosts.
const (
	AnyHosts       = "any"
	DifferentHosts = "different" // no two machines of a trial on one host, but for roles that stand beside another
)

// A Binding gives a flag the value of an axis.
type Binding struct {
	Axis, Flag string
	Pos        diag.Pos // not valid for the default one, of the axis model to the flag model
}

// An Override changes flags, environment or roles in the cells that meet Where. Overrides beat
// the base; two that meet in one cell must agree (the compiler checks).
type Override struct {
	Where []Condition
	Flags []Setting
	Env   []Setting
	Roles []RoleChange
	Pos   diag.Pos
}

// A RoleChange sets some fields of a role; nil leaves a field alone. A role that the base does
// not have is added.
type RoleChange struct {
	Name      string
	Count     *int
	CPUs      *int
	GPUs      *int
	MemoryMiB *int
	Finish    *string
	On        *string
	Beside    *string
	Artifacts []string
	Flags     []Setting
	Pos       diag.Pos
}

// How a role ends.
const (
	Exits   = "exits"   // the trial waits for it
	Stopped = "stopped" // it never ends by itself (a parameter server): stopped when all others have exited
	// It loads the host while the others run: started first, steady before they start, alive until
	// they have ended; then stopped. Otherwise the trial is invalid.
	Background = "background"
)

// A Role is a group of equal processes of a trial.
type Role struct {
	Name      string
	Count     int
	CPUs      int      // whole CPUs a process may use; 0: all of its machine
	GPUs      int      // a process
	MemoryMiB int      // 0: no limit
	Finish    string   // Exits, Stopped or Background
	On        string   // the role whose machines it shares
	Beside    string   // the role whose hosts it shares, as the orchestration's Beside says; neither: each process on a machine of its own
	Artifacts []string // files of a process's folder that come home with its output
	Flags     []Setting
	Pos       diag.Pos
}

// A Pattern reads a metric from the output of a Command: RE2 over one line, whose group "v" is
// the value. The last match counts.
type Pattern struct {
	Metric string
	Line   string
	Pos    diag.Pos
}

// A Dataset is files that a workload reads.
type Dataset struct {
	Name     string
	Path     string // where it lies on the machines; empty if Generate is set
	Checksum string // "sha256:..." of the manifest; required with Path
	Bytes    int64  // of all files; 0: not declared
	Generate *Generate
	Pos      diag.Pos
}

// Generate makes a small image set on the machine with cnnbench: same numbers, same bytes.
type Generate struct {
	Images int
	Seed   int
}

// Orders of trials.
const (
	Interleaved = "interleaved" // repeat by repeat, shuffled within each by the seed
	Sequential  = "sequential"  // cell by cell
)

// Order says in which order trials stand in the plan.
type Order struct {
	Kind string
	Seed int64
}

// A Metric is something a trial yields one number of.
type Metric struct {
	Name   string
	Unit   string
	Kind   string // "rate" (harmonic mean) or "cost" (arithmetic mean)
	Better string // "higher" or "lower"
	Pos    diag.Pos
}

// A Figure is a table and chart over cells: one metric, rows by columns.
type Figure struct {
	Name     string
	Title    string
	Metric   string
	MetricAt diag.Pos
	Block    string // empty: all blocks
	Where    []Condition
	Rows     []string  // axes on the x-axis; several: one group for each of their combinations
	Columns  string    // axis of the series
	Baseline []Setting // the cell with these values instead is what a bar is set against
	As       string    // Absolute, Ratio or Degradation
	XTitle   string    // of the x-axis; empty: made of the axes
	YTitle   string    // of the y-axis; empty: made of the metric
	Pos      diag.Pos
}

// What a figure shows of its metric.
const (
	Absolute    = "absolute"    // the number itself
	Ratio       = "ratio"       // number / baseline
	Degradation = "degradation" // number / baseline - 1
)

// A Label is what tables and charts print for a value of an axis.
type Label struct {
	Axis, Value, Text string
	Pos               diag.Pos
}

// A Reference is numbers from elsewhere, such as a paper, that tables show beside the run's.
type Reference struct {
	Source string // where they are from, as readers should cite it
	Rows   []ReferenceRow
	Pos    diag.Pos
}

// A ReferenceRow is one number. It belongs to the cells of Block (any, if empty) that meet Where.
type ReferenceRow struct {
	Block  string
	Where  []Setting
	Metric string
	Value  float64
	Note   string
	Pos    diag.Pos // in the file
}

// A Testbed says where a study runs.
type Testbed struct {
	Name           string
	Clouds         []Cloud         // by name
	Orchestrations []Orchestration // by name
	Capacity       []Amount        // what may be in use at a time; a resource not listed has no limit
	Limits         Limits
	Rehearsal      Rehearsal
	Pos            diag.Pos
}

// A Cloud is one place of a testbed. It holds no secret: only the name under which the SDK
// finds the credentials.
type Cloud struct {
	Name    string
	Backend string          // "openstack", "kubernetes" or "sandbox"
	Config  json.RawMessage // the backend's own fields; canonical JSON
	Pos     diag.Pos
	Fields  map[string]diag.Pos // where the values of Config are, by their paths in it
}

// An Orchestration is one value of the axis of that name: what its machines are.
type Orchestration struct {
	Name    string
	Cloud   string
	Machine json.RawMessage // the backend's own description of a machine; canonical JSON
	Uses    []Amount        // of the testbed's capacity, each machine
	Beside  string          // what stands beside a role on its host: BesideProcess or BesideMachine
	Pos     diag.Pos
	Fields  map[string]diag.Pos // where the values of Machine are, by their paths in it, such as "pod.mounts[0].claim"
}

// What stands beside a role on its host.
const (
	BesideProcess = "process" // another process on the same machine: two jobs in one OS, two containers on a node
	BesideMachine = "machine" // a machine of its own on the same host, as VMs are
)

// An Amount is some units of a resource ("hosts", "gpus", "instances", "cores", ...).
type Amount struct {
	Resource string
	Units    int
	Pos      diag.Pos
}

// A Rehearsal says how a run by a model of the machines goes.
type Rehearsal struct {
	Seed   int
	Faults []Fault // what goes wrong
}

// A Fault is a step that fails: the first Times of each step that Step fits, or always if that is 0.
type Fault struct {
	Step  string // such as "provision/vm-*" or "trial/single/*"; * stands for anything
	Class string
	Times int
}

// Limits bound the steps; zero takes the compiler's default.
type Limits struct {
	Provision, Stage, Trial, Release time.Duration
	Attempts                         int // tries of a step that failed for a reason that may pass
}
