package plan

import (
	"bufio"
	"fmt"
	"io"
)

// Mermaid writes the DAG as a Mermaid flowchart: one subgraph a fleet. state, which may be nil,
// gives a word to put below a step's name.
func (p *Plan) Mermaid(w io.Writer, state func(step int) string) error {
	b := bufio.NewWriter(w)
	fmt.Fprintln(b, "flowchart LR")
	byFleet := make([][]int, len(p.Fleets))
	for i := range p.Steps {
		byFleet[p.Steps[i].Fleet] = append(byFleet[p.Steps[i].Fleet], i)
	}
	for f, steps := range byFleet {
		fmt.Fprintf(b, "  subgraph %s\n", p.Fleets[f].Name)
		for _, i := range steps {
			label := p.StepID(i)
			if state != nil {
				if s := state(i); s != "" {
					label += "<br/>" + s
				}
			}
			fmt.Fprintf(b, "    s%d[\"%s\"]\n", i, label)
		}
		fmt.Fprintln(b, "  end")
	}
	last := make([]bool, len(p.Steps)) // has a successor
	for i := range p.Steps {
		for _, a := range p.Steps[i].After {
			last[a] = true
			fmt.Fprintf(b, "  s%d --> s%d\n", a, i)
		}
	}
	for _, steps := range byFleet {
		release := -1
		for _, i := range steps {
			if p.Steps[i].Kind == Release {
				release = i
			}
		}
		for _, i := range steps {
			if i != release && release >= 0 && !last[i] {
				fmt.Fprintf(b, "  s%d -.-> s%d\n", i, release)
			}
		}
	}
	return b.Flush()
}
