package main

import (
	"testing"
	"time"

	"dlx.dev/dlx/backends"
)

func TestNothingOfADetachedRunThatGoesOnIsPastItsDeadline(t *testing.T) {
	now := time.Now()
	all := []backends.Leftover{
		{Owner: backends.Owner{Run: "gone", Fleet: "f"}, Object: backends.Object{Kind: "pod", Name: "a"}, Until: now.Add(-time.Hour)},
		{Owner: backends.Owner{Run: "on", Fleet: "f"}, Object: backends.Object{Kind: "pod", Name: "b"}, Until: now.Add(-time.Hour)},
	}
	g := &collection{now: now, on: map[string]bool{"on": true}}
	owners, whole := g.sort("lab", all)
	if len(owners) != 1 || owners[0].Run != "gone" || len(whole) != 1 || whole[0] != "gone" {
		t.Errorf("released are %v and %v", owners, whole)
	}
	if x := g.things[1]; x.Did != gcKept || x.words() != "kept: its run goes on, detached" {
		t.Errorf("got %+v", x)
	}
}
