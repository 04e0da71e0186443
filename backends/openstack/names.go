package openstack

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"dlx.dev/dlx/backends"
)

// Tags that every server carries, and allocations as extra. A tag of Nova may have 60
// characters, and neither comma nor slash.
const (
	tagAll   = "dlx"
	keyRun   = "dlx-run"
	keyFleet = "dlx-fleet"
	keyUntil = "dlx-until"
	keyName  = "dlx-machine"
)

// maxTag is Nova's limit (api-ref, "Server tags").
const maxTag = 60

// maxLabel is that of a DNS label, which the server's host name is.
const maxLabel = 63

var runID = regexp.MustCompile(`^[A-Za-z0-9-]{1,32}$`)

var uuid = regexp.MustCompile(`^[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}$`)

// checkOwner refuses owners whose names the cloud could not tell apart.
func checkOwner(o backends.Owner, fleet bool) error {
	switch {
	case !runID.MatchString(o.Run):
		return fmt.Errorf("run %q: not 1 to 32 letters, digits and '-'", o.Run)
	case fleet && o.Fleet == "":
		return fmt.Errorf("no fleet")
	}
	return nil
}

// cut shortens a text to n characters; what was cut is told apart by a hash of the whole.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return s[:n-11] + "-" + hex.EncodeToString(sum[:5])
}

// runPrefix begins the names of all machines of a run, and of those of runs whose ID goes on.
func runPrefix(run string) string { return "dlx-" + strings.ToLower(run) + "-" }

// machineName is the cloud's name of a machine. Its run stays readable: 32 characters fit.
func machineName(o backends.Owner, machine string) string {
	return cut(runPrefix(o.Run)+strings.ToLower(o.Fleet+"-"+machine), maxLabel)
}

// keypairName is the cloud's name of a run's login key. Keypairs have no tags.
func keypairName(run string) string { return "dlx-" + run }

// tags of a server.
func tags(o backends.Owner, until time.Time) []string {
	out := []string{tagAll, tag(keyRun, o.Run), tag(keyFleet, o.Fleet)}
	if !until.IsZero() {
		out = append(out, tag(keyUntil, strconv.FormatInt(until.Unix(), 10)))
	}
	return out
}

func tag(key, value string) string { return cut(key+"="+value, maxTag) }

// labels are the same as metadata: whole values, for those who read.
func labels(o backends.Owner, machine string, until time.Time) map[string]string {
	out := map[string]string{keyRun: o.Run, keyFleet: o.Fleet, keyName: machine}
	if !until.IsZero() {
		out[keyUntil] = strconv.FormatInt(until.Unix(), 10)
	}
	return out
}

// belongs reports whether something with these tags, or labels, is the owner's.
func belongs(o backends.Owner, tagged []string, labelled map[string]string) bool {
	byTag := slices.Contains(tagged, tag(keyRun, o.Run)) && (o.Fleet == "" || slices.Contains(tagged, tag(keyFleet, o.Fleet)))
	byLabel := labelled[keyRun] == o.Run && (o.Fleet == "" || labelled[keyFleet] == o.Fleet)
	return byTag || byLabel
}
