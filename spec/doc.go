// Package spec reads studies and testbeds written in CUE.
//
//  1. A folder is loaded as a CUE package, with dlx's schema laid over it in memory (source.go).
//  2. What the user wrote becomes a tree of nodes, each with its place (walk.go, position.go);
//     CUE's own complaints are put into plain words (translate.go).
//  3. The tree is decoded into a [Study] or [Testbed] (decode_*.go), and what joins several
//     parts is checked (check_*.go).
//  4. If nothing was found, the checking definitions of the schema must agree (confirm.go).
//
// CUE reports some mistakes only after others are mended, and reports some at the schema's line.
// Therefore step 1 uses definitions without checks (schema/open), and steps 3 and 4 find every
// mistake in one pass, at the user's line. Errors are of type [diag.List].
//
// It is the only importer of CUE. Nothing is expanded here: a cell is never a CUE value.
package spec
