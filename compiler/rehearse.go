package compiler

import "encoding/json"

// ModelBackend is the backend that stands in for every cloud of a rehearsal.
const ModelBackend = "model"

// rehearsal is the settings of that backend: the testbed's, with the lines that the workload's
// patterns read, so that it can print such lines.
func (st *state) rehearsal() json.RawMessage {
	type fault struct {
		Step  string `json:"step"`
		Class string `json:"class"`
		Times int    `json:"times,omitempty"`
	}
	c := struct {
		Seed     int      `json:"seed"`
		Patterns []string `json:"patterns,omitempty"`
		Faults   []fault  `json:"faults,omitempty"`
	}{Seed: st.testbed.Rehearsal.Seed}
	for _, p := range st.study.Workload.Patterns {
		c.Patterns = append(c.Patterns, p.Line)
	}
	for _, f := range st.testbed.Rehearsal.Faults {
		c.Faults = append(c.Faults, fault{f.Step, f.Class, f.Times})
	}
	b, _ := json.Marshal(c) // cannot fail: strings and numbers
	return b
}
