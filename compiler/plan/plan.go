// Package plan holds the compiled form of a study: cells, fleets and a DAG of steps.
//
// A plan is complete and repeatable. The same study and testbed give the same bytes; a plan runs
// without the study; it holds no clock, no path of this machine, no random value and no secret.
// Steps and cells are named from what they are, never by counters. Places in the user's files
// stand apart, in Sources, and are not part of the digest: moving a line changes nothing.
//
// The package is a leaf: it imports [diag] and the standard library.
package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"dlx.dev/dlx/spec/diag"
)

// Format is the number of the JSON form. It rises when a reader of the old form would
// misunderstand the new one; added optional fields do not raise it.
const Format = 2

// A Plan is what a run will do.
//
// Values of this type are read-only once compiled or decoded and may be shared by goroutines.
type Plan struct {
	Format   int
	Study    string
	Title    string
	Testbed  string
	Caveat   Caveat
	Repeats  int
	Axes     []Axis // by name
	Blocks   []string
	Clouds   []Cloud // by name
	Capacity []Amount
	Workload Workload
	Policy   Policy
	Fleets   []Fleet // by name
	Cells    []Cell  // by name
	Excluded []Excluded
	Metrics  []Metric    // by name
	Figures  []Figure    // by name
	Labels   []Label     // by axis and value
	RefsFrom string      // where the reference numbers are from; empty if there are none
	Refs     []Reference // by cell and metric
	Warnings []string    // of method: what the numbers will not be able to say
	Steps    []Step      // topological; ready steps are tried in this order
	Sources  []Source    // sorted by ID; outside the digest
}

// A Caveat says why the numbers of a run are not what they look like. It is printed on the first
// page of everything made from the run.
type Caveat string

// Caveats.
const (
	NoCaveat  Caveat = ""
	Sandbox   Caveat = "sandbox"   // all machines were processes of one computer
	Simulated Caveat = "simulated" // the durations came from a model
)

// An Axis is one dimension of the matrix with its values in the order in which tables show them.
type Axis struct {
	Name   string   `json:"name"`
	Values []string `json:"values"`
	Number bool     `json:"number,omitempty"` // all values are numbers
}

// A Cloud names a backend and its settings. Secrets are not among them: the SDK finds those.
type Cloud struct {
	Name    string          `json:"name"`
	Backend string          `json:"backend"`
	Config  json.RawMessage `json:"config,omitempty"`
}

// ID tells a cloud from others, whatever plans call it: 16 hexadecimal digits of SHA-256 over
// backend and config without where this computer keeps keys.
func (c *Cloud) ID() string {
	sum := sha256.Sum256([]byte(c.Backend + " " + string(c.anywhere())))
	return hex.EncodeToString(sum[:8])
}

// anywhere is the config without where this computer keeps the key of a jump host: on another, or
// with another key, the cloud is the same.
func (c *Cloud) anywhere() json.RawMessage {
	var all, jump map[string]json.RawMessage
	if json.Unmarshal(c.Config, &all) != nil || json.Unmarshal(all["jump"], &jump) != nil || jump["key"] == nil {
		return c.Config
	}
	delete(jump, "key")
	all["jump"], _ = json.Marshal(jump) // cannot fail, as what follows: it was JSON before
	out, _ := json.Marshal(all)
	return out
}

// An Amount is some units of a resource.
type Amount struct {
	Resource string `json:"resource"`
	Units    int    `json:"units"`
}

// A Workload says what program the roles run and how its output is read.
type Workload struct {
	Kind     string    `json:"kind"`
	Version  string    `json:"version,omitempty"` // of a program that dlx brings itself
	Parser   string    `json:"parser"`
	Patterns []Pattern `json:"patterns,omitempty"`
}

// A Pattern reads a metric: RE2 over a line; group "v" is the value.
type Pattern struct {
	Metric string `json:"metric"`
	Line   string `json:"line"`
}

// A Policy bounds the steps of each kind.
type Policy struct {
	Provision Limit `json:"provision"`
	Stage     Limit `json:"stage"`
	Trial     Limit `json:"trial"`
	Release   Limit `json:"release"`
}

// Of returns the limit of a kind of step.
func (p Policy) Of(k Kind) Limit {
	switch k {
	case Provision:
		return p.Provision
	case Stage:
		return p.Stage
	case Trial:
		return p.Trial
	default:
		return p.Release
	}
}

// A Limit bounds one step.
type Limit struct {
	Timeout  Duration `json:"timeout"`  // of each attempt
	Attempts int      `json:"attempts"` // at most, for failures that may pass (see backends.Class)
	Backoff  Duration `json:"backoff"`  // before the second attempt; doubles each time
	MaxWait  Duration `json:"maxWait"`  // the backoff's ceiling
}

// Wait is the pause after the n-th failed attempt (n counts from 1).
func (l Limit) Wait(n int) time.Duration {
	d := time.Duration(l.Backoff)
	for i := 1; i < n && d < time.Duration(l.MaxWait); i++ {
		d *= 2
	}
	if l.MaxWait > 0 {
		d = min(d, time.Duration(l.MaxWait))
	}
	return d
}

// A Duration is a time.Duration written as "1m30s".
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// A Fleet is the machines that trials with the same needs share, provisioned and released as one.
type Fleet struct {
	Name          string    `json:"name"` // "vm-1": orchestration and number of machines, a DNS label
	Cloud         string    `json:"cloud"`
	Orchestration string    `json:"orchestration"`
	Machines      []Machine `json:"machines"`
	Hosts         string    `json:"hosts,omitempty"` // how they stand on hosts: "", "same" or "different" (see backends.Hosts)
	Uses          []Amount  `json:"uses,omitempty"`  // of the capacity, from provision to release
	Stages        []Staging `json:"stages,omitempty"`
}

// A Machine is a compute instance to be made.
type Machine struct {
	Name string          `json:"name"` // a DNS label, unique in the fleet
	Spec json.RawMessage `json:"spec"` // the backend's own description
}

// Staging puts something onto every machine of a fleet, once. Exactly one of File and Dataset is set.
type Staging struct {
	Name    string   `json:"name"`
	File    string   `json:"file,omitempty"` // a file that dlx brings: "self" is dlx's own executable
	Dataset *Dataset `json:"dataset,omitempty"`
}

// A Dataset is files that a workload reads. Exactly one of Path and Images is set.
type Dataset struct {
	Name     string `json:"name"`
	Path     string `json:"path,omitempty"`
	Checksum string `json:"checksum,omitempty"`
	Bytes    int64  `json:"bytes,omitempty"`  // of all files of Path; 0: not declared
	Images   int    `json:"images,omitempty"` // generated on the machine
	Seed     int    `json:"seed,omitempty"`
}

// A Setting is an axis at a value, or a name with a text.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// A Cell is one combination of axis values, resolved: all that can change its result is here.
type Cell struct {
	Name   string    `json:"name"` // "single/model=alexnet,orchestration=vm": block, then axes by name
	Key    string    `json:"key"`  // hash of all that can change the result; see [Cell.Components]
	Block  string    `json:"block"`
	Axes   []Setting `json:"axes"`             // by name; only those that exist for this cell
	Fleet  int       `json:"-"`                // index into Plan.Fleets
	Stages []string  `json:"stages,omitempty"` // names of the fleet's stagings it needs
	Roles  []Role    `json:"roles"`
}

// Value is the cell's value on an axis, and whether the axis exists for it.
func (c *Cell) Value(axis string) (string, bool) {
	for _, s := range c.Axes {
		if s.Name == axis {
			return s.Value, true
		}
	}
	return "", false
}

// Row is the cell's values on some axes, joined by RowSep, and whether it has them all: where a
// figure with these rows shows it.
func (c *Cell) Row(axes []string) (string, bool) {
	if len(axes) == 1 {
		return c.Value(axes[0])
	}
	values := make([]string, len(axes))
	for i, a := range axes {
		v, ok := c.Value(a)
		if !ok {
			return "", false
		}
		values[i] = v
	}
	return strings.Join(values, RowSep), true
}

// RowSep stands between the values of a row of several axes; no value holds it.
const RowSep = ", "

// How a role ends.
const (
	Exits   = "exits"   // the trial waits for it
	Stopped = "stopped" // stopped when every role that exits has exited

	// Started first, steady before the others start, alive until every role that exits has
	// exited, then stopped; otherwise the trial is invalid.
	Background = "background"
)

// A Role is a group of equal processes of a trial.
type Role struct {
	Name      string    `json:"name"`
	Args      []Arg     `json:"args"` // the program first
	Env       []Setting `json:"env,omitempty"`
	Machines  []int     `json:"machines"` // one process for each entry, on that machine of the fleet
	CPUs      int       `json:"cpus,omitempty"`
	GPUs      int       `json:"gpus,omitempty"`
	MemoryMiB int       `json:"memoryMiB,omitempty"`
	Finish    string    `json:"finish"`
	Artifacts []string  `json:"artifacts,omitempty"` // files of a process's folder that come home; a change of them changes no key
}

// An Arg is literal text, or a text with one late value in it that is known only when the
// machines are: {Text: "--ps_hosts=", Late: &Late{Role: "ps", Port: 50000}} becomes
// "--ps_hosts=10.0.0.1:50000".
type Arg struct {
	Text string
	Late *Late
}

// A Late value is known only during the run. Exactly one of Role, File and Dataset is set, or
// Index.
type Late struct {
	Role    string `json:"role,omitempty"`    // addresses of the role's processes, comma-separated
	Port    int    `json:"port,omitempty"`    // with Role: process i listens on Port+i
	File    string `json:"file,omitempty"`    // path on the machine of the staged file
	Dataset string `json:"dataset,omitempty"` // folder on the machine of the staged dataset
	Index   bool   `json:"index,omitempty"`   // the index of the process in its role
}

// MarshalJSON writes a literal as a string, and a late value as an object.
func (a Arg) MarshalJSON() ([]byte, error) {
	if a.Late == nil {
		if isPlain(a.Text) { // nearly all are
			return append(append(append(make([]byte, 0, len(a.Text)+2), '"'), a.Text...), '"'), nil
		}
		return json.Marshal(a.Text)
	}
	return json.Marshal(struct {
		Text string `json:"text,omitempty"`
		Late *Late  `json:"late"`
	}{a.Text, a.Late})
}

// isPlain reports whether a text is its own JSON form.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}

// UnmarshalJSON reads both forms.
func (a *Arg) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		a.Late = nil
		return json.Unmarshal(b, &a.Text)
	}
	var v struct {
		Text string `json:"text"`
		Late *Late  `json:"late"`
	}
	if err := decodeStrict(b, &v); err != nil {
		return err
	}
	a.Text, a.Late = v.Text, v.Late
	return nil
}

// Excluded is a cell the user took out, with the reason.
type Excluded struct {
	Cell   string `json:"cell"`
	Reason string `json:"reason"`
}

// A Metric is something a trial yields one number of.
type Metric struct {
	Name   string `json:"name"`
	Unit   string `json:"unit"`
	Kind   string `json:"kind"`   // "rate" or "cost"
	Better string `json:"better"` // "higher" or "lower"
}

// A Figure is a table and a chart over cells.
type Figure struct {
	Name     string      `json:"name"`
	Title    string      `json:"title,omitempty"`
	Metric   string      `json:"metric"`
	Block    string      `json:"block,omitempty"`
	Where    []Condition `json:"where,omitempty"`
	Rows     []string    `json:"rows"` // axes; a group on the x-axis for each of their combinations
	Columns  string      `json:"columns"`
	Baseline []Setting   `json:"baseline,omitempty"`
	As       string      `json:"as"`
	XTitle   string      `json:"xTitle,omitempty"`
	YTitle   string      `json:"yTitle,omitempty"`
}

// What a figure shows of its metric.
const (
	Absolute    = "absolute"    // the number itself
	Ratio       = "ratio"       // number / baseline
	Degradation = "degradation" // number / baseline - 1
)

// A Label is what tables and charts print for a value of an axis.
type Label struct {
	Axis  string `json:"axis"`
	Value string `json:"value"`
	Text  string `json:"text"`
}

// Label is the text for a value of an axis: the value itself if the study gives none.
func (p *Plan) Label(axis, value string) string {
	for _, l := range p.Labels {
		if l.Axis == axis && l.Value == value {
			return l.Text
		}
	}
	return value
}

// A Reference is a number from elsewhere for a metric of a cell.
type Reference struct {
	Cell   string  `json:"cell"`
	Metric string  `json:"metric"`
	Value  float64 `json:"value"`
	Note   string  `json:"note,omitempty"`
}

// Reference finds the reference number of a cell, and nil if there is none.
func (p *Plan) Reference(cell, metric string) *Reference {
	i, ok := slices.BinarySearchFunc(p.Refs, [2]string{cell, metric}, func(r Reference, k [2]string) int {
		return cmp.Or(strings.Compare(r.Cell, k[0]), strings.Compare(r.Metric, k[1]))
	})
	if !ok {
		return nil
	}
	return &p.Refs[i]
}

// A Condition restricts an axis to some values.
type Condition struct {
	Axis   string   `json:"axis"`
	Values []string `json:"values"`
}

// Matches reports whether the cell meets every condition. An axis that the cell does not have
// meets none.
func Matches(c *Cell, where []Condition) bool {
	for _, w := range where {
		v, ok := c.Value(w.Axis)
		if !ok {
			return false
		}
		found := false
		for _, x := range w.Values {
			found = found || x == v
		}
		if !found {
			return false
		}
	}
	return true
}

// Kind is what a step does.
type Kind uint8

// Kinds of steps, in the order in which a fleet goes through them.
const (
	Provision Kind = iota // make the fleet's machines
	Stage                 // put one Staging onto each of them
	Trial                 // run one repeat of one cell
	Release               // remove the fleet and see it gone; always done, also after failure and cancel
)

var kindNames = [...]string{"provision", "stage", "trial", "release"}

func (k Kind) String() string { return kindNames[k] }

// A Step is a node of the DAG. It holds indexes, not strings, so that a plan of a million
// trials fits in memory; [Plan.StepID] gives its name.
//
// After lists what must have succeeded before. A Release has no list: it waits until every other
// step of its fleet has ended, in whatever way.
type Step struct {
	Kind   Kind
	Fleet  int32   // index into Plan.Fleets
	Stage  int32   // Stage: index into the fleet's Stages
	Cell   int32   // Trial: index into Plan.Cells
	Repeat int32   // Trial: from 1
	After  []int32 // indexes into Plan.Steps, ascending, each below the step's own
}

// StepID names step i: "provision/vm-1", "stage/vm-1/cnnbench",
// "trial/single/model=alexnet,orchestration=vm/r1", "release/vm-1".
func (p *Plan) StepID(i int) string {
	s := &p.Steps[i]
	f := p.Fleets[s.Fleet]
	switch s.Kind {
	case Stage:
		return "stage/" + f.Name + "/" + f.Stages[s.Stage].Name
	case Trial:
		return "trial/" + TrialID(p.Cells[s.Cell].Name, int(s.Repeat))
	default:
		return s.Kind.String() + "/" + f.Name
	}
}

// TrialID names a repeat of a cell. It is also the trial's folder below logs/.
func TrialID(cell string, repeat int) string { return cell + "/r" + strconv.Itoa(repeat) }

// A Source is the place in the user's files that asked for something: a cell, a fleet, a figure,
// an orchestration. ID is "cell/<name>", "fleet/<name>", "figure/<name>", "block/<name>".
type Source struct {
	ID  string   `json:"id"`
	Pos diag.Pos `json:"pos"`
}

// Source returns the place for an ID, and false if none is known.
func (p *Plan) Source(id string) (diag.Pos, bool) {
	lo, hi := 0, len(p.Sources)
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		if p.Sources[m].ID < id {
			lo = m + 1
		} else {
			hi = m
		}
	}
	if lo < len(p.Sources) && p.Sources[lo].ID == id {
		return p.Sources[lo].Pos, true
	}
	return diag.Pos{}, false
}

// StepSource returns the place that asked for step i.
func (p *Plan) StepSource(i int) (diag.Pos, bool) {
	s := &p.Steps[i]
	if s.Kind == Trial {
		return p.Source("cell/" + p.Cells[s.Cell].Name)
	}
	return p.Source("fleet/" + p.Fleets[s.Fleet].Name)
}

// Counts sums a plan up.
type Counts struct {
	Cells  int `json:"cells"`
	Trials int `json:"trials"`
	Fleets int `json:"fleets"`
	Steps  int `json:"steps"`
}

// Counts counts.
func (p *Plan) Counts() Counts {
	c := Counts{Cells: len(p.Cells), Fleets: len(p.Fleets), Steps: len(p.Steps)}
	for i := range p.Steps {
		if p.Steps[i].Kind == Trial {
			c.Trials++
		}
	}
	return c
}
