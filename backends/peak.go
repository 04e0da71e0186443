package backends

import (
	"cmp"
	"slices"
)

// peakWork bounds the search for the heaviest fleets: a million sets take milliseconds.
const peakWork = 1 << 20

// Peak is the greatest weight that fleets have which the testbed's capacity lets be up at the same
// time. weight is that of a need by its index, at least 0. Where there are so many fleets that not
// all sets can be tried it is that of the heaviest set found: one that may really be up.
func Peak(needs []Need, weight func(i int) int) int {
	p := peak{needs: needs, room: map[string]int{}, work: peakWork}
	rest := 0
	for i, n := range needs {
		if w := weight(i); w > 0 {
			p.order, p.weights = append(p.order, i), append(p.weights, w)
			rest += w
		}
		for _, u := range n.Uses {
			p.room[u.Resource] = u.Capacity
		}
	}
	byWeight := make([]int, len(p.order))
	for k := range byWeight {
		byWeight[k] = k
	}
	slices.SortStableFunc(byWeight, func(a, b int) int { return cmp.Compare(p.weights[b], p.weights[a]) })
	order, weights := make([]int, 0, len(byWeight)), make([]int, 0, len(byWeight))
	for _, k := range byWeight {
		order, weights = append(order, p.order[k]), append(weights, p.weights[k])
	}
	p.order, p.weights = order, weights
	p.search(0, 0, rest)
	return p.best
}

// peak is such a search.
type peak struct {
	needs   []Need
	order   []int // needs, the heaviest first
	weights []int // theirs
	room    map[string]int
	work    int
	best    int
}

// search tries sets from the k-th need on; rest is the weight of all that are left.
func (p *peak) search(k, sum, rest int) {
	p.best = max(p.best, sum)
	if p.work--; p.work < 0 || k == len(p.order) || sum+rest <= p.best {
		return
	}
	uses := p.needs[p.order[k]].Uses
	fits := true
	for _, u := range uses {
		p.room[u.Resource] -= u.Units
		fits = fits && p.room[u.Resource] >= 0
	}
	if fits {
		p.search(k+1, sum+p.weights[k], rest-p.weights[k])
	}
	for _, u := range uses {
		p.room[u.Resource] += u.Units
	}
	p.search(k+1, sum, rest-p.weights[k])
}
