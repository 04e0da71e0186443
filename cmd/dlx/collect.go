package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
	"dlx.dev/dlx/spec/words"
)

// A collection is a search for what runs left behind.
type collection struct {
	clouds []plan.Cloud
	run    string // "": all runs, by their deadlines
	named  bool   // the clouds were named, in place of those of the folder's plan
	dry    bool
	on     map[string]bool // runs that go on, detached: nothing of them is past its deadline
	force  bool
	ids    map[string]string // of clouds that are looked at in another namespace, by name
	away   *detached         // the run of the folder is in a cluster; nil: it is not
	now    time.Time
	secret []byte
	folder *folder // of the run; nil: without

	things  []gcThing
	refused []error // clouds that could not be asked
	notes   []string
}

// inUse is why something stays whose own deadline has passed.
const inUse = "others of its run are not past their deadline"

// releaseTime bounds the release of one owner in one cloud. Bare metal may take half of it.
const releaseTime = time.Hour

// collect goes through the clouds, one after the other.
func (g *collection) collect(ctx context.Context) error {
	if g.folder != nil {
		defer g.folder.close()
	}
	if err := g.collectAway(ctx); err != nil {
		return err
	}
	for _, c := range g.clouds {
		if err := g.inCloud(ctx, c); err != nil {
			g.refused = append(g.refused, fmt.Errorf("cloud %s: %w", c.Name, err))
		}
	}
	if g.folder != nil && !g.dry && len(g.refused) == 0 {
		if err := g.settle(); err != nil {
			return &exitError{exitEnvironment, err}
		}
		if err := g.comeBack(); err != nil {
			return &exitError{exitEnvironment, err}
		}
	}
	left := slices.IndexFunc(g.things, func(x gcThing) bool { return x.Did == gcLeft })
	switch {
	case left >= 0:
		d := g.doc()
		return &exitError{exitLeft, errors.Join(append(g.refused, fmt.Errorf("%s could not be released", words.Count(d.Left, "object")))...)}
	case len(g.refused) > 0:
		return &exitError{exitEnvironment, errors.Join(g.refused...)}
	}
	return nil
}

// inCloud looks for leftovers in one cloud and releases those that may go. Its error is that the
// cloud could not be asked.
func (g *collection) inCloud(ctx context.Context, c plan.Cloud) (err error) {
	state := ""
	if g.folder != nil {
		state = stateOf(g.folder.dir, c.Name)
	}
	b, err := openCloud(ctx, c, g.secret, state)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeBackend(context.WithoutCancel(ctx), b)) }()
	if err := g.tellDetached(ctx, &c); err != nil {
		return err
	}
	col, ok := b.Provider.(backends.Collector)
	if !ok {
		return fmt.Errorf("backend %s cannot look for leftovers", c.Backend)
	}
	all, err := col.Leftovers(ctx)
	if err != nil {
		return err
	}
	owners, whole := g.sort(c.Name, all)
	if g.dry {
		return nil
	}
	for _, o := range owners {
		if err := g.release(ctx, c.Name, b, o); err != nil && ctx.Err() != nil {
			return err
		}
	}
	return g.ends(ctx, c.Name, b, whole)
}

// ends releases what belongs to runs as a whole, when their fleets are gone. It looks again: a run
// may have been taken up meanwhile, and what it made since is not past its deadline.
func (g *collection) ends(ctx context.Context, cloud string, b *backends.Backend, runs []string) error {
	if len(runs) == 0 {
		return nil
	}
	all, err := b.Provider.(backends.Collector).Leftovers(ctx)
	if err != nil {
		return err
	}
	for _, run := range runs {
		rest := slices.DeleteFunc(slices.Clone(all), func(l backends.Leftover) bool { return l.Owner.Run != run })
		did, why := gcKept, inUse
		switch {
		case len(rest) == 0:
			did, why = gcReleased, ""
		case g.expired(rest):
			if err := g.release(ctx, cloud, b, backends.Owner{Run: run}); err != nil && ctx.Err() != nil {
				return err
			}
			continue
		}
		for i := range g.things {
			if x := &g.things[i]; x.Cloud == cloud && x.Run == run && x.Did == gcListed {
				x.Did, x.Why = did, why
			}
		}
	}
	return nil
}

// sort notes what was found, and gives the owners of what may go, and the runs of which all may.
func (g *collection) sort(cloud string, all []backends.Leftover) (owners []backends.Owner, whole []string) {
	if g.run != "" {
		for _, l := range all {
			if l.Owner.Run == g.run {
				g.note(cloud, l, gcListed)
			}
		}
		return []backends.Owner{{Run: g.run}}, nil // also if nothing is seen yet
	}
	for _, run := range slices.Compact(ownersOf(all, func(l backends.Leftover) backends.Owner { return backends.Owner{Run: l.Owner.Run} })) {
		of := slices.DeleteFunc(slices.Clone(all), func(l backends.Leftover) bool { return l.Owner.Run != run.Run })
		ended := g.expired(of) && !g.on[run.Run]
		if ended {
			whole = append(whole, run.Run)
		}
		for _, fleet := range slices.Compact(ownersOf(of, func(l backends.Leftover) backends.Owner { return l.Owner })) {
			in := slices.DeleteFunc(slices.Clone(of), func(l backends.Leftover) bool { return l.Owner != fleet })
			did := gcKept
			switch {
			case fleet.Fleet == "": // what is the run's goes with the last fleet
				if ended {
					did = gcListed
				}
			case g.expired(in) && !g.on[run.Run]:
				did, owners = gcListed, append(owners, fleet)
			}
			for _, l := range in {
				g.note(cloud, l, did)
			}
		}
	}
	return owners, whole
}

func ownersOf(all []backends.Leftover, f func(backends.Leftover) backends.Owner) []backends.Owner {
	out := make([]backends.Owner, len(all))
	for i, l := range all {
		out[i] = f(l)
	}
	return out
}

// expired reports whether the deadlines of all have passed. What says none is never past it.
func (g *collection) expired(all []backends.Leftover) bool {
	return !slices.ContainsFunc(all, func(l backends.Leftover) bool { return l.Until.IsZero() || !l.Until.Before(g.now) })
}

func (g *collection) note(cloud string, l backends.Leftover, did string) {
	x := gcThing{Cloud: cloud, Kind: l.Object.Kind, Name: l.Object.Name, ID: l.Object.ID, Run: l.Owner.Run, Fleet: l.Owner.Fleet, Did: did}
	if !l.Until.IsZero() {
		u := l.Until.UTC()
		x.Until = &u
	}
	switch {
	case did != gcKept:
	case g.on[l.Owner.Run]:
		x.Why = "its run goes on, detached"
	case l.Until.IsZero():
		x.Why = "it says no deadline: --run " + l.Owner.Run + " releases it"
	case l.Until.Before(g.now):
		x.Why = inUse
	}
	g.things = append(g.things, x)
}

// release removes all of an owner and notes what became of it. What is left is in the notes.
func (g *collection) release(ctx context.Context, cloud string, b *backends.Backend, o backends.Owner) error {
	limited, cancel := context.WithTimeoutCause(ctx, releaseTime, fmt.Errorf("not done after %v", releaseTime))
	defer cancel()
	led := &gcLedger{folder: g.folder, cloud: g.idOf(cloud)}
	err := b.Release(limited, o, led)
	still := map[string]bool{} // what is there though it should not
	var listErr error
	if err != nil {
		var there []backends.Leftover
		if there, listErr = b.Provider.(backends.Collector).Leftovers(ctx); listErr == nil {
			for _, l := range there {
				still[l.Object.Kind+" "+l.Object.Name+" "+l.Object.ID] = true
			}
		}
	}
	some := false
	for i := range g.things {
		x := &g.things[i]
		if x.Cloud != cloud || x.Run != o.Run || o.Fleet != "" && x.Fleet != o.Fleet {
			continue
		}
		some = true
		if err != nil && (listErr != nil || still[x.Kind+" "+x.Name+" "+x.ID]) {
			x.Did, x.Why = gcLeft, err.Error()
		} else {
			x.Did, x.Why = gcReleased, ""
		}
	}
	for _, l := range led.gone { // also what goes with the last fleet of a run, and what was too young to be listed
		i := slices.IndexFunc(g.things, func(x gcThing) bool {
			return x.Cloud == cloud && x.Run == l.Owner.Run && x.Kind == l.Object.Kind && x.Name == l.Object.Name
		})
		if i < 0 {
			g.note(cloud, l, gcReleased)
		} else {
			g.things[i].Did, g.things[i].Why = gcReleased, ""
		}
	}
	if err != nil && !some {
		g.refused = append(g.refused, fmt.Errorf("cloud %s: %w", cloud, err))
	}
	return err
}

// idOf is what the journal calls a cloud.
func (g *collection) idOf(name string) string {
	if id := g.ids[name]; id != "" {
		return id
	}
	return g.clouds[slices.IndexFunc(g.clouds, func(c plan.Cloud) bool { return c.Name == name })].ID()
}

// looked reports whether the cloud of an object was asked. Where the journal does not say which that
// is, whoever names the clouds says it.
func (g *collection) looked(o *journal.Owned) bool {
	if o.Cloud == "" {
		return g.named
	}
	return slices.ContainsFunc(g.clouds, func(c plan.Cloud) bool { return g.idOf(c.Name) == o.Cloud })
}

// settle closes the accounts of a run's folder: what was made in its clouds, and is not there, is gone.
func (g *collection) settle() error {
	f := g.folder
	for _, o := range f.history.Owned() {
		switch {
		case slices.ContainsFunc(g.things, func(x gcThing) bool {
			return x.Did == gcLeft && x.Kind == o.Object.Kind && x.Name == o.Object.Name
		}):
		case !g.looked(&o):
			g.things = append(g.things, gcThing{Cloud: "-", Kind: o.Object.Kind, Name: o.Object.Name, ID: o.Object.ID, Run: o.Owner.Run, Fleet: o.Owner.Fleet, Did: gcLeft,
				Why: "it was made in a cloud that was not asked: name the testbed of that by --testbed"})
		default: // never answered, or removed by another
			if err := f.gone(o.Cloud, o.Owner, o.Object); err != nil {
				return err
			}
		}
	}
	f.tidy(len(f.history.Owned()))
	return nil
}

// gcLedger notes what is gone, in the run's journal if there is one.
type gcLedger struct {
	folder *folder
	cloud  string // plan.Cloud.ID

	mu   sync.Mutex
	gone []backends.Leftover
}

// Intend implements backends.Ledger: nothing is made.
func (l *gcLedger) Intend(context.Context, backends.Owner, backends.Object) error {
	return errors.New("gc makes nothing")
}

// Made implements backends.Ledger: nothing is made.
func (l *gcLedger) Made(context.Context, backends.Owner, backends.Object) error {
	return errors.New("gc makes nothing")
}

// Gone implements backends.Ledger.
func (l *gcLedger) Gone(_ context.Context, o backends.Owner, obj backends.Object) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = append(l.gone, backends.Leftover{Owner: o, Object: obj})
	if l.folder == nil {
		return nil
	}
	return l.folder.gone(l.cloud, o, obj)
}

// gone notes in the journal that an object was seen gone.
func (f *folder) gone(cloud string, o backends.Owner, obj backends.Object) error {
	ev := journal.Event{Kind: journal.Gone, Owner: &o, Object: &obj, Cloud: cloud}
	if err := f.journal.Append(ev); err != nil {
		return err
	}
	return f.history.Fold(ev)
}

// doc is the collection as it is shown.
func (g *collection) doc() *gcDoc {
	d := &gcDoc{Format: 1, DryRun: g.dry, Run: g.run, Objects: []gcThing{}, Refused: []string{}, Notes: g.notes}
	d.Objects = append(d.Objects, g.things...)
	for _, x := range d.Objects {
		switch x.Did {
		case gcReleased:
			d.Released++
		case gcKept:
			d.Kept++
		case gcLeft:
			d.Left++
		}
	}
	for _, err := range g.refused {
		d.Refused = append(d.Refused, err.Error())
	}
	return d
}
