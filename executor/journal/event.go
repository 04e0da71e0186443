// Package journal is the durable record of a run: one line of JSON for each thing that
// happened, in the order in which it became known, with a checksum.
//
// The journal is also the ledger: the notes that come before every request for a cloud object
// stand in the same file, so that there is one order and one fsync. What was measured is in it
// before the machine it was measured on may be released.
package journal

import (
	"time"

	"dlx.dev/dlx/backends"
)

// Format is the number of the line format. It rises when an old reader would misread a new line.
const Format = 1

// Kind says what happened.
type Kind string

// Kinds of events.
const (
	Opened   Kind = "opened"   // a process took up the run: Run, Plan, Version
	Started  Kind = "started"  // an attempt at a step began: Step, Attempt
	Ended    Kind = "ended"    // it ended: State, Class, Error, Spans, Exits
	Observed Kind = "observed" // a trial's numbers, before its Ended: Key, Repeat, Observations
	Intend   Kind = "intend"   // ledger: an object will be asked for
	Made     Kind = "made"     // ledger: the cloud has it
	Gone     Kind = "gone"     // ledger: it was seen gone
	Note     Kind = "note"     // Text
	Closed   Kind = "closed"   // the run ended in order: State
)

// State is how an attempt, a step or a run ended.
type State string

// States.
const (
	Done     State = "done"
	Failed   State = "failed"
	Skipped  State = "skipped" // something it needs failed
	Canceled State = "canceled"
)

// An Event is one line. Which fields are set depends on Kind. Fields are only ever added.
type Event struct {
	Seq  int64     `json:"seq"` // from 1, without gaps
	Time time.Time `json:"time"`
	Kind Kind      `json:"kind"`

	Format  int    `json:"format,omitempty"`
	Run     string `json:"run,omitempty"`
	Plan    string `json:"plan,omitempty"`    // digest
	Version string `json:"version,omitempty"` // of dlx

	Step    string         `json:"step,omitempty"` // plan.StepID
	Attempt int            `json:"attempt,omitempty"`
	State   State          `json:"state,omitempty"`
	Class   backends.Class `json:"class,omitempty"`
	Error   string         `json:"error,omitempty"`
	Spans   []Span         `json:"spans,omitempty"`
	Procs   []Proc         `json:"procs,omitempty"`
	Files   []FileSum      `json:"files,omitempty"` // staged by this step, with checksum

	Key          string        `json:"key,omitempty"`    // plan.Cell.Key
	Repeat       int           `json:"repeat,omitempty"` // from 1
	Observations []Observation `json:"observations,omitempty"`
	Warnings     []string      `json:"warnings,omitempty"` // doubts about the observations
	Machines     []MachineFact `json:"machines,omitempty"`

	Owner  *backends.Owner  `json:"owner,omitempty"`
	Object *backends.Object `json:"object,omitempty"`
	Cloud  string           `json:"cloud,omitempty"` // that the object is in: plan.Cloud.ID; none for Gone: whatever cloud it was in

	Text string `json:"text,omitempty"`
}

// A Span is a named part of a step's time: "provision", "boot", "stage", "launch", "run",
// "collect". Start is relative to the attempt's beginning.
type Span struct {
	Name  string        `json:"name"`
	Start time.Duration `json:"startNs"`
	Took  time.Duration `json:"tookNs"`
}

// A Proc is how one process of a trial ended.
type Proc struct {
	Role    string        `json:"role"`
	Index   int           `json:"index"`
	Machine string        `json:"machine"`
	Exit    backends.Exit `json:"exit"`
	Files   []FileSum     `json:"files,omitempty"` // brought home
	// Covered is, of a background process, the share of the other roles' time in which it ran.
	Covered *float64 `json:"covered,omitempty"`
}

// A FileSum is a file and what it held.
type FileSum struct {
	Name   string `json:"name"` // relative to the run folder
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// MachineFact is what a machine was, as the provider and the probe inside it say.
type MachineFact struct {
	Name  string            `json:"name"`
	Host  string            `json:"host,omitempty"`
	Facts map[string]string `json:"facts,omitempty"`
}

// An Observation is one number of a trial and where it was read.
type Observation struct {
	Metric string  `json:"metric"`
	Value  float64 `json:"value"` // finite
	Unit   string  `json:"unit"`
	Role   string  `json:"role,omitempty"`
	Index  int     `json:"index,omitempty"`
	File   string  `json:"file,omitempty"` // relative to the run folder
	Line   int     `json:"line,omitempty"` // from 1
	Text   string  `json:"text,omitempty"` // the line, cut to 200 bytes
	How    string  `json:"how,omitempty"`  // how several readings became one: "only", "mean of workers", "machine clock"
}
