package bench

import (
	"fmt"
	"strconv"
)

// number is a flag value that collects a complaint where package flag would stop at the first.
type number[T int | float64] struct {
	p     *T
	name  string
	least T
	parse func(string) (T, error)
	kind  string
	bad   *[]string
}

func parseInt(s string) (int, error)       { return strconv.Atoi(s) }
func parseFloat(s string) (float64, error) { return strconv.ParseFloat(s, 64) }

// String implements flag.Value.
func (n *number[T]) String() string {
	if n.p == nil {
		return "0"
	}
	return fmt.Sprint(*n.p)
}

// Set implements flag.Value. It never fails.
func (n *number[T]) Set(s string) error {
	v, err := n.parse(s)
	if err == nil && v >= n.least && v-v == 0 { // the last is false for infinity
		*n.p = v
	} else {
		*n.bad = append(*n.bad, fmt.Sprintf("--%s: %q is not %s of at least %v", n.name, s, n.kind, n.least))
	}
	return nil
}

// boolValue is a boolean flag value that collects complaints likewise.
type boolValue struct {
	p    *bool
	name string
	bad  *[]string
}

// String implements flag.Value.
func (b *boolValue) String() string { return strconv.FormatBool(b.p != nil && *b.p) }

// IsBoolFlag tells package flag that the value may be left out.
func (b *boolValue) IsBoolFlag() bool { return true }

// Set implements flag.Value. It never fails.
func (b *boolValue) Set(s string) error {
	v, err := strconv.ParseBool(s)
	if err == nil {
		*b.p = v
	} else {
		*b.bad = append(*b.bad, fmt.Sprintf("--%s: %q is neither true nor false", b.name, s))
	}
	return nil
}
