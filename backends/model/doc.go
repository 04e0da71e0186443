// Package model is a cloud that is not there: a rehearsal of a study by a model of its machines and
// of its program.
//
// Machines boot, processes print what tf_cnn_benchmarks or a command would print, and end, as the
// model says; all in this process, and gone with it. A duration is reported in full and waited
// for at a small fraction. The same seed, study and repeat give the same numbers, whatever the
// order. The numbers are like those of Lin, Pai and Chou (CLOSER 2018) on two GPUs a machine, with
// noise; they say nothing about anything, and whoever opens this backend marks them so.
package model

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"time"

	"dlx.dev/dlx/backends"
)

// Config is the settings of a rehearsed cloud.
type Config struct {
	Seed     uint64   `json:"seed"`
	Patterns []string `json:"patterns,omitempty"` // lines of a command's output, as regular expressions with a group "v"
	Faults   []Fault  `json:"faults,omitempty"`
	Speed    float64  `json:"speed,omitempty"` // how much faster than reported time passes; 0: DefaultSpeed
}

// DefaultSpeed makes an hour 72 ms.
const DefaultSpeed = 50_000

// A Fault is something that goes wrong, at the first times that a step is tried.
type Fault struct {
	Step  string         `json:"step"`            // glob over "provision/FLEET", "release/FLEET", "trial/CELL/rN"; * matches anything, also '/'
	Class backends.Class `json:"class"`           // workload: a process ends with code 1; else the step fails with it
	Times int            `json:"times,omitempty"` // for each step; 0: always
}

// matches reports whether a step's name fits the glob.
func (f *Fault) matches(step string) bool { return glob(f.Step).MatchString(step) }

func glob(pattern string) *regexp.Regexp {
	text := ""
	for _, r := range pattern {
		if r == '*' {
			text += ".*"
		} else {
			text += regexp.QuoteMeta(string(r))
		}
	}
	return regexp.MustCompile("^" + text + "$")
}

// Factory opens rehearsed clouds.
func Factory() backends.Factory { return backends.Factory{Kind: "model", Open: Open} }

// Open makes an empty cloud.
func Open(_ context.Context, o backends.Options) (*backends.Backend, error) {
	var c Config
	if len(o.Config) > 0 {
		if err := json.Unmarshal(o.Config, &c); err != nil {
			return nil, backends.Errorf(backends.Config, "cloud "+o.Cloud, "%w", err)
		}
	}
	var patterns []*regexp.Regexp
	for _, p := range c.Patterns {
		re, err := regexp.Compile(p)
		if err != nil {
			return nil, backends.Errorf(backends.Config, "cloud "+o.Cloud, "pattern: %w", err)
		}
		patterns = append(patterns, re)
	}
	for _, f := range c.Faults {
		if !slices.Contains(classes, f.Class) {
			return nil, backends.Errorf(backends.Config, "cloud "+o.Cloud, "fault of %s: class %q is none of %v", f.Step, f.Class, classes)
		}
	}
	if c.Speed == 0 {
		c.Speed = DefaultSpeed
	}
	w := &cloud{cfg: c, patterns: patterns, machines: map[string]*machine{}, tried: map[string]int{}}
	return &backends.Backend{
		Provider:  w,
		Launchers: map[string]backends.Launcher{"memory": launcher{w}},
		Close:     func(context.Context) error { return nil },
	}, nil
}

// classes of failures that can be scripted.
var classes = []backends.Class{backends.Capacity, backends.Config, backends.Infra, backends.Quota, backends.Transport, backends.Workload}

// fault is what goes wrong with this try of a step, or nil.
func (c *cloud) fault(step string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.cfg.Faults {
		f := &c.cfg.Faults[i]
		if !f.matches(step) {
			continue
		}
		k := fmt.Sprint(i, " ", step)
		if f.Times > 0 && c.tried[k] >= f.Times {
			continue
		}
		c.tried[k]++
		return backends.Errorf(f.Class, "rehearsal", "scripted failure of %s", step)
	}
	return nil
}

// wait lets a reported duration pass at the cloud's speed; it reports false if ctx ended.
func (c *cloud) wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(time.Duration(float64(d) / c.cfg.Speed))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// stepOf names the step of a trial's process, from its ID: CELL/rN/KEY-aN/ROLE-i.
func stepOf(id string) string { return "trial/" + path.Dir(path.Dir(id)) }
