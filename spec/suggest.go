package spec

import (
	"slices"
	"strconv"
	"strings"
)

// clip shortens text from a file for use in a message.
func clip(s string) string { return clipTo(s, 80) }

func clipTo(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "..."
}

func quote(s string) string {
	if len(s) > 80 {
		return strconv.Quote(strings.ToValidUTF8(s[:80], "")) + "..."
	}
	return strconv.Quote(s)
}

// didYouMean is " (did you mean X?)" for a near known word, else " (known: ...)".
func didYouMean(word string, known []string) string {
	if near := nearest(word, known); near != "" {
		return " (did you mean " + strconv.Quote(near) + "?)"
	}
	return knownList(known)
}

// knownAnd is " (known: ...; did you mean X?)".
func knownAnd(word string, known []string) string {
	near := nearest(word, known)
	if near == "" || len(known) == 1 {
		return knownList(known)
	}
	return strings.TrimSuffix(knownList(known), ")") + "; did you mean " + strconv.Quote(near) + "?)"
}

// maxListed is how many words a message lists.
const maxListed = 20

func knownList(known []string) string {
	if len(known) == 0 {
		return " (none is known)"
	}
	if len(known) > maxListed {
		return " (known: " + strings.Join(known[:maxListed], ", ") + ", and " + strconv.Itoa(len(known)-maxListed) + " more)"
	}
	return " (known: " + strings.Join(known, ", ") + ")"
}

// nearest returns the known word with the smallest edit distance, if that is small.
func nearest(word string, known []string) string {
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

func sorted(words []string) []string {
	out := slices.Clone(words)
	slices.Sort(out)
	return slices.Compact(out)
}
