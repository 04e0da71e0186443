package spec

import (
	"context"
	"path/filepath"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/cuecontext"

	"dlx.dev/dlx/spec/diag"
)

// What users wait for every day is a study without mistakes: it is evaluated once, with the
// checking definitions. Whatever these or the decoder do not like is left to a second reading,
// which evaluates what the user wrote without them and takes the time to find every mistake.

// faultlessStudy returns the study, or nil if anything is wrong with it.
func (s *source) faultlessStudy(ctx context.Context, o Options) *Study {
	var errs diag.List
	root := s.faultless(ctx, "study", &errs)
	if root == nil {
		return nil
	}
	d := s.decoder(&errs, o)
	study := d.study(root)
	if study == nil {
		return nil
	}
	if d.checkStudy(study, root); len(errs) > 0 {
		return nil
	}
	return study
}

// faultlessTestbed returns the testbed, or nil if anything is wrong with it.
func (s *source) faultlessTestbed(ctx context.Context, o Options) *Testbed {
	var errs diag.List
	root := s.faultless(ctx, "testbed", &errs)
	if root == nil {
		return nil
	}
	if tb := s.decoder(&errs, o).testbed(root); len(errs) == 0 {
		return tb
	}
	return nil
}

// faultless returns the tree of a field of a package that CUE has nothing against, or nil.
func (s *source) faultless(ctx context.Context, name string, errs *diag.List) *node {
	if ctx.Err() != nil {
		return nil
	}
	registry, ok := s.checkModule(errs)
	if !ok {
		return nil
	}
	inst := s.instance(true, s.tags, registry)
	if inst.Err != nil {
		return nil
	}
	p := &pkg{src: s, inst: inst, index: newIndex(s, inst), registry: registry}
	if s.checkTags(errs, inst); len(*errs) > 0 {
		return nil
	}
	p.value = cuecontext.New().BuildInstance(inst)
	if p.value.Validate() != nil || p.value.LookupPath(cue.MakePath(cue.Str(name))).Validate(cue.Concrete(true)) != nil {
		return nil
	}
	if root := p.tree(name, errs); len(*errs) == 0 {
		return root
	}
	return nil
}

func (s *source) decoder(errs *diag.List, o Options) *decoder {
	read := func(name string) ([]byte, error) { return s.read(filepath.Join(s.dir, filepath.FromSlash(name))) }
	return &decoder{errs: errs, catalog: o.Catalog, read: read}
}
