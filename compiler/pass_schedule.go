package compiler

import (
	"math/rand/v2"
	"slices"
	"time"

	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/spec"
)

// Default limits of steps. Booting bare metal takes up to half an hour with cleaning; the others
// are generous bounds whose only purpose is that nothing hangs for ever.
const (
	defaultProvision = 30 * time.Minute
	defaultStage     = 30 * time.Minute
	defaultTrial     = 2 * time.Hour
	defaultRelease   = 30 * time.Minute
	defaultAttempts  = 3
	releaseAttempts  = 10 // a leaked machine costs more than patience
	firstWait        = 2 * time.Second
	longestWait      = 2 * time.Minute
)

// schedule orders the trials and makes the steps. Ready steps are tried in the plan's order, so
// this order is the schedule: provisions, then stages, then trials, each fleet's release as soon
// as its last trial ended.
func (st *state) schedule() {
	st.policy()
	if len(st.plan.Cells) == 0 {
		return
	}
	p := st.plan
	first := make([]int32, len(p.Fleets)) // provision steps
	stages := make([][]int32, len(p.Fleets))
	for f := range p.Fleets {
		first[f] = int32(len(p.Steps))
		p.Steps = append(p.Steps, plan.Step{Kind: plan.Provision, Fleet: int32(f)})
	}
	for f := range p.Fleets {
		stages[f] = make([]int32, len(p.Fleets[f].Stages))
		for _, s := range stageOrder(&p.Fleets[f]) {
			after := []int32{first[f]}
			if d := p.Fleets[f].Stages[s].Dataset; d != nil && d.Images > 0 { // made by dlx itself, on the machine
				after = []int32{stages[f][slices.IndexFunc(p.Fleets[f].Stages, func(x plan.Staging) bool { return x.Name == selfStage })]}
			}
			stages[f][s] = int32(len(p.Steps))
			p.Steps = append(p.Steps, plan.Step{Kind: plan.Stage, Fleet: int32(f), Stage: int32(s), After: after})
		}
	}
	for _, t := range st.order() {
		c := &p.Cells[t.cell]
		var after []int32
		for _, name := range c.Stages {
			k := slices.IndexFunc(p.Fleets[c.Fleet].Stages, func(s plan.Staging) bool { return s.Name == name })
			after = append(after, stages[c.Fleet][k])
		}
		if len(after) == 0 {
			after = []int32{first[c.Fleet]}
		}
		slices.Sort(after)
		p.Steps = append(p.Steps, plan.Step{
			Kind: plan.Trial, Fleet: int32(c.Fleet), Cell: int32(t.cell), Repeat: int32(t.repeat), After: after,
		})
	}
	for f := range p.Fleets {
		p.Steps = append(p.Steps, plan.Step{Kind: plan.Release, Fleet: int32(f)})
	}
}

// stageOrder puts files before the datasets that may need them.
func stageOrder(f *plan.Fleet) []int {
	var files, datasets []int
	for i := range f.Stages {
		if f.Stages[i].Dataset == nil {
			files = append(files, i)
		} else {
			datasets = append(datasets, i)
		}
	}
	return append(files, datasets...)
}

type trial struct{ cell, repeat int }

// order is the order of trials: repeat by repeat, each shuffled by the study's seed, so that
// drift over time falls on all cells alike; or cell by cell.
func (st *state) order() []trial {
	n := len(st.plan.Cells)
	out := make([]trial, 0, n*st.plan.Repeats)
	if st.study.Order.Kind == spec.Sequential {
		for c := range n {
			for r := 1; r <= st.plan.Repeats; r++ {
				out = append(out, trial{c, r})
			}
		}
		return out
	}
	for r := 1; r <= st.plan.Repeats; r++ {
		// A generator a repeat: more repeats leave the order of the earlier ones alone.
		for _, c := range rand.New(rand.NewPCG(uint64(st.study.Order.Seed), uint64(r))).Perm(n) {
			out = append(out, trial{c, r})
		}
	}
	return out
}

func (st *state) policy() {
	l := st.testbed.Limits
	or := func(d, def time.Duration) plan.Duration {
		if d > 0 {
			return plan.Duration(d)
		}
		return plan.Duration(def)
	}
	attempts := l.Attempts
	if attempts == 0 {
		attempts = defaultAttempts
	}
	limit := func(t plan.Duration, n int) plan.Limit {
		return plan.Limit{Timeout: t, Attempts: n, Backoff: plan.Duration(firstWait), MaxWait: plan.Duration(longestWait)}
	}
	st.plan.Policy = plan.Policy{
		Provision: limit(or(l.Provision, defaultProvision), attempts),
		Stage:     limit(or(l.Stage, defaultStage), attempts),
		Trial:     limit(or(l.Trial, defaultTrial), attempts),
		Release:   limit(or(l.Release, defaultRelease), max(attempts, releaseAttempts)),
	}
}
