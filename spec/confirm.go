package spec

import (
	"context"

	"cuelang.org/go/cue"
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

// confirm reads the package once more with the checking definitions. They and the decoder say
// the same of every study; where they should not, the stricter one wins, so that what dlx
// accepts "cue vet" accepts too.
func (s *source) confirm(ctx context.Context, p *pkg, name string, errs *diag.List) {
	if ctx.Err() != nil {
		return
	}
	inst := s.instance(true, s.tags, p.registry)
	if inst.Err != nil {
		s.loadErrors(errs, inst)
		return
	}
	v := cuecontext.New().BuildInstance(inst).LookupPath(cue.MakePath(cue.Str(name)))
	if err := v.Validate(cue.Concrete(true)); err != nil {
		for _, m := range p.plain(err, name, p.packageAt()) {
			m.Msg = "the schema refuses this: " + m.Msg
			*errs = append(*errs, m)
		}
	}
}
