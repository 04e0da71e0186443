package export

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
	"dlx.dev/dlx/results"
)

// fillProvenance writes where everything comes from: the run, its machines, its logs.
func (b *workbook) fillProvenance() error {
	r := b.book.Run
	s := &sheet{name: provenanceSheet, widths: []float64{28, 68, 40, 40}}
	s.add(styled(b.style.title, "Provenance"))
	s.add(b.caveatRow()...)
	s.add("run", r.ID)
	s.add("study", r.Plan.Study)
	s.add("testbed", r.Plan.Testbed)
	s.add("plan, sha256", r.Digest)
	s.add("dlx", r.Version)
	s.add("first event", stamp(r.Started))
	s.add("last event", stamp(r.Ended))
	s.add("workload", strings.TrimSpace(r.Plan.Workload.Kind+" "+r.Plan.Workload.Version))
	s.add("parser", r.Plan.Workload.Parser)
	s.add("format of the plan", plan.Format)
	s.add("format of the journal", journal.Format)
	for _, c := range r.Plan.Clouds {
		s.add("cloud "+c.Name, c.Backend)
	}
	b.addMachines(s, r)
	logs := files(r)
	s.add()
	s.add(styled(b.style.section, "Files that were brought home"))
	s.add(styled(b.style.head, "bytes"), styled(b.style.head, "sha256"), styled(b.style.head, "file"))
	room := maxRows - len(s.rows) - 1
	shown := min(len(logs), room)
	count := shown
	if shown < len(logs) {
		count++
	}
	return b.write(s, count, func(i int, buf []any) []any {
		if i == shown {
			return append(buf, fmt.Sprintf("%d further files are in the journal", len(logs)-shown))
		}
		f := logs[i]
		return append(buf, float64(f.Size), f.SHA256, link(logLink(f.Name), f.Name, b.style.link))
	})
}

func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}

// addMachines lists every machine as each of its incarnations was: what the provider and the
// probe inside it said.
func (b *workbook) addMachines(s *sheet, r *results.Run) {
	type machine struct {
		fleet  string
		fact   journal.MachineFact
		trials int
	}
	var all []*machine
	byName := map[string][]*machine{} // names are unique in a fleet
	keys := map[string]bool{}
	for i := range r.Trials {
		fleet := r.Plan.Fleets[r.Plan.Cells[r.Trials[i].Cell].Fleet].Name
		for _, f := range r.Trials[i].Machines {
			name := fleet + "/" + f.Name
			for k := range f.Facts {
				keys[k] = true
			}
			list := byName[name]
			k := slices.IndexFunc(list, func(m *machine) bool { return m.fact.Host == f.Host && maps.Equal(m.fact.Facts, f.Facts) })
			if k < 0 {
				m := &machine{fleet: fleet, fact: f}
				all, byName[name], k = append(all, m), append(list, m), len(list)
			}
			byName[name][k].trials++
		}
	}
	slices.SortStableFunc(all, func(a, b *machine) int {
		return cmp.Or(strings.Compare(a.fleet, b.fleet), strings.Compare(a.fact.Name, b.fact.Name))
	})
	s.add()
	s.add(styled(b.style.section, "Machines, as the provider and the probe inside them say"))
	head := []any{styled(b.style.head, "fleet"), styled(b.style.head, "machine"), styled(b.style.head, "host"), styled(b.style.head, "trials")}
	sorted := slices.Sorted(maps.Keys(keys))
	for _, k := range sorted {
		head = append(head, styled(b.style.head, k))
	}
	s.add(head...)
	for _, m := range all {
		row := []any{m.fleet, m.fact.Name, orNil(m.fact.Host), m.trials}
		for _, k := range sorted {
			row = append(row, orNil(m.fact.Facts[k]))
		}
		s.add(row...)
	}
}
