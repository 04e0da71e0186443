package sandbox

import "testing"

// A process that is being started has all descriptors of this one for a moment.
func TestClosedListenersAddressIsFree(t *testing.T) {
	l, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	childs, err := l.(listener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer childs.Close()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := listen(l.Addr().String())
	if err != nil {
		t.Fatalf("the address of a closed listener, which a child has as well: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}
