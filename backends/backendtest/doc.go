// Package backendtest checks every promise of package backends, for every implementation.
//
// A [World] is a way to make a backend; [Run] runs one explicit list of checks against it, each
// with a fresh backend. Virtual worlds run each check in a bubble of testing/synctest, where
// hours pass at once. Where a world cannot do something (make a boot fail, lose a connection),
// the check is skipped; DLX_TEST_REQUIRE=world,... makes skips of these worlds failures.
package backendtest
