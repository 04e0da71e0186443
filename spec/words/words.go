// Package words helps to say what would do in place of a name that is not known. It is a leaf.
package words

import (
	"slices"
	"strconv"
	"strings"
)

// Count is "1 GPU" or "2 GPUs".
func Count[T int | int64](n T, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.FormatInt(int64(n), 10) + " " + what + "s"
}

// DidYouMean is " (did you mean X?)" for a near known word, else " (known: ...)".
func DidYouMean(word string, known []string) string {
	if near := Nearest(word, known); near != "" {
		return " (did you mean " + strconv.Quote(near) + "?)"
	}
	return List(known)
}

// Known is " (known: ...; did you mean X?)".
func Known(word string, known []string) string {
	near := Nearest(word, known)
	if near == "" || len(known) == 1 {
		return List(known)
	}
	return strings.TrimSuffix(List(known), ")") + "; did you mean " + strconv.Quote(near) + "?)"
}

// maxListed is how many words a message lists.
const maxListed = 20

// List is " (known: a, b)".
func List(known []string) string {
	if len(known) == 0 {
		return " (none is known)"
	}
	if len(known) > maxListed {
		return " (known: " + strings.Join(known[:maxListed], ", ") + ", and " + strconv.Itoa(len(known)-maxListed) + " more)"
	}
	return " (known: " + strings.Join(known, ", ") + ")"
}

// Set is words without order and repeats: sorted, each once.
func Set(words []string) []string { return slices.Compact(slices.Sorted(slices.Values(words))) }

// Nearest returns the known word with the smallest edit distance, if that is small.
func Nearest(word string, known []string) string {
	best, at := "", 1+max(1, len(word)/3)
	for _, k := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(k), at); d < at {
			best, at = k, d
		}
	}
	return best
}

// distance is the number of edits (insert, delete, replace, swap of neighbours) between two
// words, or limit when it is not smaller.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	var prev2 []int
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(row[j-1]+1, prev[j]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], prev2[j-2]+1)
			}
		}
		prev2, prev = prev, row
	}
	return min(prev[len(b)], limit)
}
