// Package backendtest checks every promise of package backends, for every implementation.
//
// A [World] is a way to make a backend; [Run] runs one explicit list of checks against it, each
// with a fresh backend. Virtual worlds run each check in a bubble of testing/synctest, where
// hours pass at once. What a world cannot have by its nature (a connection to lose) it declares,
// with the reason; checks that need it do not apply. Where it could do something and does not yet
// (make a boot fail), the check is skipped; DLX_TEST_REQUIRE=world,... makes skips of these worlds
// failures.
package backendtest
