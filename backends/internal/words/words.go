// Package words helps to say what would do in place of a name that is not known.
package words

import (
	"slices"
	"strconv"
	"strings"
)

// most is how many names a message lists.
const most = 12

// Known is " (known: a, b, c; did you mean b?)".
func Known(word string, known []string) string {
	known = slices.Compact(slices.Sorted(slices.Values(known)))
	if len(known) == 0 {
		return " (there is none)"
	}
	list := known
	more := ""
	if len(list) > most {
		list, more = list[:most], " and "+strconv.Itoa(len(known)-most)+" more"
	}
	text := " (known: " + strings.Join(list, ", ") + more
	if near := Nearest(word, known); near != "" && len(known) > 1 {
		text += "; did you mean " + strconv.Quote(near) + "?"
	}
	return text + ")"
}

// Count is "1 GPU" or "2 GPUs".
func Count[T int | int64](n T, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.FormatInt(int64(n), 10) + " " + what + "s"
}

// Nearest is the known word that takes the fewest edits, if these are few: a third of its letters.
func Nearest(word string, known []string) string {
	best, at := "", 1+max(1, len(word)/3)
	for _, k := range known {
		if d := edits(strings.ToLower(word), strings.ToLower(k)); d < at {
			best, at = k, d
		}
	}
	return best
}

// edits counts letters to be put in, taken out or replaced.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := corner
			if a[i] != b[j] {
				cost = 1 + min(corner, row[j], row[j+1])
			}
			corner, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
