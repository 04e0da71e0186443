package plan

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

// head is everything of the JSON form that is not one of the long lists, in its order.
type head struct {
	Format   int        `json:"format"`
	Study    string     `json:"study"`
	Title    string     `json:"title,omitempty"`
	Testbed  string     `json:"testbed"`
	Caveat   Caveat     `json:"caveat,omitempty"`
	Repeats  int        `json:"repeats"`
	Axes     []Axis     `json:"axes"`
	Blocks   []string   `json:"blocks"`
	Clouds   []Cloud    `json:"clouds"`
	Capacity []Amount   `json:"capacity,omitempty"`
	Workload Workload   `json:"workload"`
	Policy   Policy     `json:"policy"`
	Metrics  []Metric   `json:"metrics"`
	Figures  []Figure   `json:"figures,omitempty"`
	Warnings []string   `json:"warnings,omitempty"`
	Excluded []Excluded `json:"excluded,omitempty"`
	Labels   []Label    `json:"labels,omitempty"`
	RefsFrom string     `json:"refsFrom,omitempty"`
}

// wireCell is a Cell whose fleet is named.
type wireCell struct {
	Cell
	FleetName string `json:"fleet"`
}

// wireStep is a Step in words.
type wireStep struct {
	ID     string   `json:"id"`
	Kind   string   `json:"kind"`
	Fleet  string   `json:"fleet"`
	Stage  string   `json:"stage,omitempty"`
	Cell   string   `json:"cell,omitempty"`
	Repeat int32    `json:"repeat,omitempty"`
	After  []string `json:"after,omitempty"`
}

type wire struct {
	head
	Fleets  []Fleet     `json:"fleets"`
	Cells   []wireCell  `json:"cells"`
	Steps   []wireStep  `json:"steps"`
	Refs    []Reference `json:"refs,omitempty"`
	Sources []Source    `json:"sources,omitempty"`
}

// Encode returns the one canonical JSON form: UTF-8, one cell, fleet, step or source a line,
// with a final newline. Equal plans give equal bytes.
func (p *Plan) Encode() ([]byte, error) {
	w := newLines(4096 + 400*len(p.Steps) + 1600*len(p.Cells))
	w.json(head{
		p.Format, p.Study, p.Title, p.Testbed, p.Caveat, p.Repeats, nonNil(p.Axes), nonNil(p.Blocks), nonNil(p.Clouds),
		p.Capacity, p.Workload, p.Policy, nonNil(p.Metrics), p.Figures, p.Warnings, p.Excluded, p.Labels, p.RefsFrom,
	})
	if w.err == nil {
		w.b.Truncate(w.b.Len() - 1) // its closing brace
	}
	w.list("fleets", len(p.Fleets), func(i int) { w.json(&p.Fleets[i]) })
	w.list("cells", len(p.Cells), func(i int) { w.json(wireCell{p.Cells[i], p.Fleets[p.Cells[i].Fleet].Name}) })
	w.list("steps", len(p.Steps), func(i int) { w.b.Write(p.appendStep(w.b.AvailableBuffer(), i)) })
	if len(p.Refs) > 0 {
		w.list("refs", len(p.Refs), func(i int) { w.json(&p.Refs[i]) })
	}
	if len(p.Sources) > 0 {
		w.list("sources", len(p.Sources), func(i int) { w.json(&p.Sources[i]) })
	}
	w.b.WriteString("\n}\n")
	return w.b.Bytes(), w.err
}

// lines writes JSON with an element of a list a line. Its err is the first.
type lines struct {
	b   *bytes.Buffer
	e   *json.Encoder
	err error
}

func newLines(size int) *lines {
	w := &lines{b: bytes.NewBuffer(make([]byte, 0, size))}
	w.e = json.NewEncoder(w.b)
	w.e.SetEscapeHTML(false)
	return w
}

func (w *lines) json(v any) {
	if err := w.e.Encode(v); err != nil {
		w.err = cmp.Or(w.err, err)
		return
	}
	w.b.Truncate(w.b.Len() - 1) // the newline
}

func (w *lines) list(name string, n int, item func(int)) {
	w.b.WriteString(",\n\"" + name + "\":[")
	for i := range n {
		if i > 0 {
			w.b.WriteByte(',')
		}
		w.b.WriteByte('\n')
		item(i)
	}
	w.b.WriteString("]")
}

// appendStep writes a step without encoding/json: steps are the bulk of a plan, and their IDs
// need no escaping (Validate sees to it).
func (p *Plan) appendStep(b []byte, i int) []byte {
	s := &p.Steps[i]
	f := &p.Fleets[s.Fleet]
	b = append(append(b, `{"id":"`...), p.StepID(i)...)
	b = append(append(b, `","kind":"`...), s.Kind.String()...)
	b = append(append(b, `","fleet":"`...), f.Name...)
	b = append(b, '"')
	switch s.Kind {
	case Stage:
		b = append(append(append(b, `,"stage":"`...), f.Stages[s.Stage].Name...), '"')
	case Trial:
		b = append(append(append(b, `,"cell":"`...), p.Cells[s.Cell].Name...), '"')
		b = strconv.AppendInt(append(b, `,"repeat":`...), int64(s.Repeat), 10)
	case Provision, Release:
	}
	if len(s.After) > 0 {
		b = append(b, `,"after":[`...)
		for k, a := range s.After {
			if k > 0 {
				b = append(b, ',')
			}
			b = append(append(append(b, '"'), p.StepID(int(a))...), '"')
		}
		b = append(b, ']')
	}
	return append(b, '}')
}

// Digest identifies what the plan does: "sha256:" and the hash of its JSON form without Sources and
// without where this computer keeps keys.
func (p *Plan) Digest() (string, error) {
	q := *p
	q.Sources = nil
	q.Clouds = slices.Clone(p.Clouds)
	for i := range q.Clouds {
		q.Clouds[i].Config = q.Clouds[i].anywhere()
	}
	b, err := q.Encode()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// Decode reads a plan in any layout of its JSON form. It refuses unknown fields, other formats
// and whatever [Plan.Validate] refuses, so that a decoded plan can be executed.
func Decode(b []byte) (*Plan, error) {
	var f struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	if f.Format != Format {
		return nil, fmt.Errorf("plan: format %d is not known; this dlx reads format %d", f.Format, Format)
	}
	var w wire
	if err := decodeStrict(b, &w); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	p := &Plan{
		Format: w.Format, Study: w.Study, Title: w.Title, Testbed: w.Testbed, Caveat: w.Caveat, Repeats: w.Repeats,
		Axes: w.Axes, Blocks: w.Blocks, Clouds: w.Clouds, Capacity: w.Capacity, Workload: w.Workload, Policy: w.Policy,
		Fleets: w.Fleets, Excluded: w.Excluded, Metrics: w.Metrics, Figures: w.Figures, Warnings: w.Warnings, Sources: w.Sources,
		Labels: w.Labels, RefsFrom: w.RefsFrom, Refs: w.Refs,
	}
	if err := p.link(&w); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	return p, nil
}

// link turns names into indexes.
func (p *Plan) link(w *wire) error {
	fleets := make(map[string]int, len(p.Fleets))
	for i := range p.Fleets {
		fleets[p.Fleets[i].Name] = i
	}
	cells := make(map[string]int, len(w.Cells))
	for i, c := range w.Cells {
		f, ok := fleets[c.FleetName]
		if !ok {
			return fmt.Errorf("cell %q: unknown fleet %q", c.Name, c.FleetName)
		}
		c.Fleet = f
		cells[c.Name] = i
		p.Cells = append(p.Cells, c.Cell)
	}
	steps := make(map[string]int32, len(w.Steps))
	for i, s := range w.Steps {
		f, ok := fleets[s.Fleet]
		if !ok {
			return fmt.Errorf("step %q: unknown fleet %q", s.ID, s.Fleet)
		}
		step := Step{Fleet: int32(f)}
		switch s.Kind {
		case "provision":
			step.Kind = Provision
		case "release":
			step.Kind = Release
		case "stage":
			step.Kind = Stage
			step.Stage = -1
			for k, st := range p.Fleets[f].Stages {
				if st.Name == s.Stage {
					step.Stage = int32(k)
				}
			}
			if step.Stage < 0 {
				return fmt.Errorf("step %q: fleet %q has no staging %q", s.ID, s.Fleet, s.Stage)
			}
		case "trial":
			c, ok := cells[s.Cell]
			if !ok {
				return fmt.Errorf("step %q: unknown cell %q", s.ID, s.Cell)
			}
			step.Kind, step.Cell, step.Repeat = Trial, int32(c), s.Repeat
		default:
			return fmt.Errorf("step %q: unknown kind %q", s.ID, s.Kind)
		}
		for _, a := range s.After {
			k, ok := steps[a]
			if !ok {
				return fmt.Errorf("step %q: after %q, which does not come before it", s.ID, a)
			}
			step.After = append(step.After, k)
		}
		p.Steps = append(p.Steps, step)
		if id := p.StepID(i); id != s.ID {
			return fmt.Errorf("step %q: should be named %q", s.ID, id)
		}
		steps[s.ID] = int32(i)
	}
	return nil
}

func nonNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
