package kubernetes

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"dlx.dev/dlx/backends"
)

// Labels of all objects that dlx makes. A value that a label cannot hold is hashed; annotations
// of the same keys hold what was meant.
const (
	labelManager = "app.kubernetes.io/managed-by"
	labelApp     = "app.kubernetes.io/name"
	labelRunToo  = "app.kubernetes.io/instance"  // for tools that know these names
	labelRole    = "app.kubernetes.io/component" // "fleet", or as labelPart
	labelRun     = "dlx.dev/run"
	labelFleet   = "dlx.dev/fleet"
	labelMachine = "dlx.dev/machine" // of a holder
	labelGroup   = "dlx.dev/group"   // of a Job and its pods: the Job's name
	labelPart    = "dlx.dev/part"    // of a pod: "holder" or "process"
	keyUntil     = "dlx.dev/until"   // RFC 3339; after this moment anybody may remove it
	keyJobSet    = "dlx.dev/jobset"  // of a holder: "true" where the Jobs of its machine are those of JobSets

	manager = "dlx"
	holder  = "holder"
	process = "process"
)

// Labels and annotations of others.
const (
	labelHost  = "kubernetes.io/hostname"
	labelQueue = "kueue.x-k8s.io/queue-name"                // of a Job
	keyIndex   = "batch.kubernetes.io/job-completion-index" // annotation since 1.21
)

// maxLabel is that of a DNS label and of a label's value.
const maxLabel = 63

var (
	runID  = regexp.MustCompile(`^[A-Za-z0-9-]{1,32}$`)
	value  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)
	others = regexp.MustCompile(`[^a-z0-9]+`)
)

// checkOwner refuses owners whose names a cluster could not tell apart.
func checkOwner(o backends.Owner, fleet bool) error {
	switch {
	case !runID.MatchString(o.Run):
		return fmt.Errorf("run %q: not 1 to 32 letters, digits and '-'", o.Run)
	case fleet && o.Fleet == "":
		return fmt.Errorf("no fleet")
	}
	return nil
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:5])
}

// label makes a label's value of any text. Texts that differ have labels that differ.
func label(s string) string {
	if value.MatchString(s) {
		return s
	}
	return dns(s, maxLabel)
}

// dns makes a DNS label of at most n characters of any text: readable, and always with a hash of
// the whole, for what is readable is not unique.
func dns(s string, n int) string {
	text := strings.Trim(others.ReplaceAllString(strings.ToLower(s), "-"), "-")
	if most := n - 11; len(text) > most {
		text = text[:most]
	}
	return strings.TrimLeft(strings.TrimRight(text, "-")+"-"+hash(s), "-")
}

// ownerName names the ConfigMap that all objects of a fleet belong to, and the headless Service.
// Its first letter is what a Service's name needs.
func ownerName(o backends.Owner) string { return "dlx-" + dns(o.Run+" "+o.Fleet, maxLabel-4) }

// holderName names the pod that holds a machine's place.
func holderName(o backends.Owner, machine string) string {
	return "dlx-" + dns(o.Run+" "+o.Fleet+" "+machine, maxLabel-4)
}

// jobName names the Job of a group. Its pods are called after it with their index, which has to
// fit into a DNS label: 5 digits.
func jobName(o backends.Owner, group string) string {
	return dns(group+" "+o.Run+" "+o.Fleet, maxLabel-6)
}

// setName names the JobSet of a trial, whose Jobs are called after it and their roles. Of the digits that
// names of pods end with, JobSet counts in those that a controller draws.
func setName(o backends.Owner, group, queue string) string {
	trial, _ := roleOf(group)
	return "dlx-" + dns(strings.Join([]string{trial, o.Run, o.Fleet, queue}, " "), maxSet-4)
}

const (
	maxSet  = 32
	maxRole = 15 // and "-0", "-" with an index of 5 digits, "-" with 5 letters
)

// setRole names a group in its JobSet.
func setRole(group string) string {
	_, role := roleOf(group)
	if len(role) <= maxRole && dnsLabel.MatchString(role) {
		return role
	}
	return dns(role, maxRole)
}

// roleOf takes the ID of a group apart, which is a trial's and a role.
func roleOf(group string) (trial, role string) {
	if i := strings.LastIndexByte(group, '/'); i > 0 && i < len(group)-1 {
		return group[:i], group[i+1:]
	}
	return group, process
}

// namespaceName is that of a run which brings none.
func namespaceName(run string) string {
	if low := strings.ToLower("dlx-" + run); low == "dlx-"+run && dnsLabel.MatchString(low) {
		return low
	}
	return "dlx-" + dns(run, maxLabel-4)
}

var dnsLabel = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

// groupOf takes the name of a process apart: see [backends.ProcessID].
func groupOf(id string) (group string, index int, ok bool) {
	at := strings.LastIndexByte(id, '-')
	if at < 1 {
		return "", 0, false
	}
	i, err := strconv.Atoi(id[at+1:])
	if err != nil || i < 0 || id != backends.ProcessID(id[:at], i) {
		return "", 0, false
	}
	return id[:at], i, true
}

// meta is the head of an object of a fleet.
func meta(o backends.Owner, name string, until time.Time) metav1.ObjectMeta {
	m := metav1.ObjectMeta{
		Name: name,
		Labels: map[string]string{
			labelManager: manager, labelApp: manager, labelRunToo: label(o.Run), labelRole: "fleet",
			labelRun: label(o.Run), labelFleet: label(o.Fleet),
		},
		Annotations: map[string]string{labelRun: o.Run, labelFleet: o.Fleet},
	}
	if !until.IsZero() {
		m.Annotations[keyUntil] = until.UTC().Format(time.RFC3339)
	}
	return m
}

// selector selects what belongs to an owner.
func selector(o backends.Owner) string {
	s := labelManager + "=" + manager + "," + labelRun + "=" + label(o.Run)
	if o.Fleet != "" {
		s += "," + labelFleet + "=" + label(o.Fleet)
	}
	return s
}
