package spec

import (
	"context"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/build"
	"cuelang.org/go/cue/cuecontext"
	"cuelang.org/go/cue/errors"

	"dlx.dev/dlx/spec/diag"
)

// elsewhere reports mistakes of the package outside the field that is read: a helper that is
// broken, a name that is not defined.
func (p *pkg) elsewhere(name string, errs *diag.List) {
	err := p.value.Validate()
	if err == nil || len(p.blanked) > 0 {
		return
	}
	for _, e := range errors.Errors(err) {
		path := pathOf(e)
		if len(e.Path()) > 0 && e.Path()[0] == name {
			continue
		}
		for _, m := range p.plain(e, path, p.index.pos(e.Position())) {
			if !m.Pos.IsValid() {
				m.Pos = p.packageAt()
			}
			*errs = append(*errs, m)
		}
	}
}

// packageAt is the place of the package's first file.
func (p *pkg) packageAt() diag.Pos {
	if len(p.inst.Files) > 0 {
		f := p.inst.Files[0]
		if at := p.index.pos(f.Pos()); at.IsValid() {
			return at
		}
		if name, ok := p.src.rel(f.Filename); ok {
			return diag.Pos{File: name, Line: 1, Col: 1}
		}
	}
	return diag.Pos{File: "."}
}

// A confirmation is what the checking definitions say of a package. They and the decoder say the
// same of every study; where they should not, the stricter one wins, so that what dlx accepts
// "cue vet" accepts too.
type confirmation struct {
	done chan struct{}
	inst *build.Instance // nil: it was not looked at
	err  error
}

// confirm reads the package once more, with the checking definitions, while the caller goes on.
func (s *source) confirm(ctx context.Context, p *pkg, name string) *confirmation {
	c := &confirmation{done: make(chan struct{})}
	registry := p.registry
	go func() {
		defer close(c.done)
		if ctx.Err() != nil {
			return
		}
		c.inst = s.instance(true, s.tags, registry)
		if c.inst.Err == nil {
			c.err = cuecontext.New().BuildInstance(c.inst).LookupPath(cue.MakePath(cue.Str(name))).Validate(cue.Concrete(true))
		}
	}()
	return c
}

// into waits for the confirmation and reports what it refuses, unless there are mistakes already:
// it would say the same of them in other words.
func (c *confirmation) into(errs *diag.List, s *source, p *pkg, name string) {
	<-c.done
	switch {
	case len(*errs) > 0 || c.inst == nil:
	case c.inst.Err != nil:
		s.loadErrors(errs, c.inst)
	case c.err != nil:
		for _, m := range p.plain(c.err, name, p.packageAt()) {
			m.Msg = "the schema refuses this: " + m.Msg
			*errs = append(*errs, m)
		}
	}
}
