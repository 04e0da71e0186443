package compiler

import (
	"dlx.dev/dlx/spec"
	"dlx.dev/dlx/spec/diag"
)

func checkFlags(kind string, all []spec.Setting) diag.List { return nil }
