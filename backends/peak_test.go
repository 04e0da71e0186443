package backends

import "testing"

func TestPeak(t *testing.T) {
	hosts := func(units, capacity int) []Use { return []Use{{Resource: "hosts", Units: units, Capacity: capacity}} }
	for _, c := range []struct {
		name    string
		needs   []Need
		weights []int
		want    int
	}{
		{"nothing", nil, nil, 0},
		{"without a bound all are up", []Need{{}, {}, {}}, []int{1, 2, 3}, 6},
		{"a bound of one takes the heaviest", []Need{{Uses: hosts(1, 1)}, {Uses: hosts(1, 1)}}, []int{2, 5}, 5},
		{"two light ones beat a heavy one", []Need{{Uses: hosts(2, 2)}, {Uses: hosts(1, 2)}, {Uses: hosts(1, 2)}}, []int{5, 3, 3}, 6},
		{"what is bounded otherwise is beside it", []Need{{Uses: hosts(1, 1)}, {Uses: hosts(1, 1)}, {Uses: []Use{{"gpus", 4, 4}}}}, []int{2, 5, 1}, 6},
		{"two bounds at once", []Need{
			{Uses: []Use{{"hosts", 1, 2}, {"gpus", 4, 4}}}, {Uses: []Use{{"hosts", 1, 2}, {"gpus", 4, 4}}}, {Uses: hosts(1, 2)}, {Uses: hosts(1, 2)},
		}, []int{4, 4, 3, 1}, 7},
		{"what weighs nothing takes no place", []Need{{Uses: hosts(1, 1)}, {Uses: hosts(1, 1)}}, []int{0, 1}, 1},
	} {
		if got := Peak(c.needs, func(i int) int { return c.weights[i] }); got != c.want {
			t.Errorf("%s: got %d; want %d", c.name, got, c.want)
		}
	}
}

// Hundreds of fleets are looked at for a bounded time, and what is found may really be up.
func TestPeakOfManyFleets(t *testing.T) {
	needs := make([]Need, 300)
	for i := range needs {
		needs[i].Uses = []Use{{"hosts", 1 + i%3, 10}, {"gpus", i % 5, 8}}
	}
	if got := Peak(needs, func(i int) int { return 1 + i%3 }); got < 8 || got > 10 {
		t.Errorf("got %d; want nearly 10", got)
	}
}
