package executor

import (
	"maps"
	"os"
	"path"
	"path/filepath"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/executor/journal"
)

// probedFacts are what a probe says of a machine as a whole, whichever process asked.
var probedFacts = []string{"architecture", "container", "cpu.model", "dmi.product", "dmi.vendor", "gpu.driver", "gpu.models", "hostname", "kernel", "memory.kib", "virtualisation"}

// probed adds to what the provider says of machines what the first probe on each has seen from inside.
func (j *job) probed(procs []*proc, machines []journal.MachineFact) {
	for i := range machines {
		for _, p := range procs {
			if p.m.Name != machines[i].Name {
				continue
			}
			f, err := os.Open(filepath.Join(j.o.Dir, filepath.FromSlash(path.Join(j.attemptDir(), p.name(), backends.Probe))))
			if err != nil {
				continue // a machine may have nothing to say of itself
			}
			said, err := backends.ParseProbe(f)
			_ = f.Close()
			if err != nil {
				continue // what cannot be read is in the logs as it is
			}
			if said["container"] != "" {
				delete(said, "hostname") // each process has its own
			}
			all := maps.Clone(machines[i].Facts)
			if all == nil {
				all = map[string]string{}
			}
			for _, k := range probedFacts {
				if v := said[k]; v != "" {
					all["probe."+k] = v
				}
			}
			machines[i].Facts = all
			break
		}
	}
}
