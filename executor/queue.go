package executor

import (
	"cmp"
	"time"
)

// stepHeap is a priority queue by the plan's order.
type stepHeap []int32

func (h stepHeap) Len() int           { return len(h) }
func (h stepHeap) Less(a, b int) bool { return h[a] < h[b] }
func (h stepHeap) Swap(a, b int)      { h[a], h[b] = h[b], h[a] }
func (h *stepHeap) Push(x any)        { *h = append(*h, x.(int32)) }
func (h *stepHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// pause is a step that waits for its next attempt.
type pause struct {
	until time.Time
	step  int32
}

type pauseHeap []pause

func (h pauseHeap) Len() int { return len(h) }
func (h pauseHeap) Less(a, b int) bool {
	return cmp.Or(h[a].until.Compare(h[b].until), cmp.Compare(h[a].step, h[b].step)) < 0
}
func (h pauseHeap) Swap(a, b int) { h[a], h[b] = h[b], h[a] }
func (h *pauseHeap) Push(x any)   { *h = append(*h, x.(pause)) }
func (h *pauseHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
