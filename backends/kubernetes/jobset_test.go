package kubernetes

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"dlx.dev/dlx/backends"
)

// All names that JobSet makes of ours are DNS labels that begin with a letter (RFC 1035), to the pod's with
// an index of five digits and the letters that its controller draws, and differ where trials or roles do.
func TestNamesInJobSets(t *testing.T) {
	label := regexp.MustCompile(`^[a-z]([a-z0-9-]*[a-z0-9])?$`)
	seen := map[string]string{}
	for _, id := range []string{
		"cell/r1/0123456789ab-a1/worker", "cell/r1/0123456789ab-a1/ps", "cell/r1/0123456789ab-a2/ps", "p", "trial=1/pair", "1/2", "a/", "/a",
		"model=" + strings.Repeat("x", 200) + "/r1/0123456789ab-a1/" + strings.Repeat("role", 20), "model=" + strings.Repeat("x", 200) + "/r1/0123456789ab-a1/" + strings.Repeat("role", 19),
	} {
		s := &spot{at: &backends.Kubernetes{Owner: backends.Owner{Run: "R-20180319-0123456789abcdef01234", Fleet: strings.Repeat("f", 100)}}, inSet: true}
		job := s.jobName(id)
		if pod := job + "-99999-abcde"; len(pod) > maxLabel || !label.MatchString(pod) {
			t.Errorf("%s: pod %s (%d)", id, pod, len(pod))
		}
		if other, ok := seen[job]; ok {
			t.Errorf("%s and %s are both %s", id, other, job)
		}
		seen[job] = id
		s.inSet = false
		if s.jobName(id) == job {
			t.Errorf("%s: a Job of a JobSet is named as one without", id)
		}
	}
	a := &spot{at: &backends.Kubernetes{Owner: backends.Owner{Run: "r", Fleet: "f"}}, inSet: true}
	if ps := a.jobName("cell/a1/ps"); !strings.HasSuffix(ps, "-ps-0") || strings.TrimSuffix(ps, "ps-0") != strings.TrimSuffix(a.jobName("cell/a1/worker"), "worker-0") {
		t.Errorf("the roles of a trial are %s and %s", ps, a.jobName("cell/a1/worker"))
	}
}

func TestJobSetOfATrial(t *testing.T) {
	queued, plain := trialOf(t, "bench"), trialOf(t, "")
	if queued.Spec.Suspend == nil || !*queued.Spec.Suspend || queued.Labels[labelQueue] != "bench" || plain.Spec.Suspend != nil || plain.Labels[labelQueue] != "" {
		t.Errorf("got %+v and %+v", queued, plain)
	}
	if queued.Name == plain.Name {
		t.Error("a set in a queue has the name of one in none")
	}
	for _, set := range []*jobSet{queued, plain} {
		for _, r := range set.Spec.ReplicatedJobs {
			spec := r.Template.Spec
			if r.Template.Labels[labelQueue] != "" || spec.Suspend != nil {
				t.Errorf("%s: the queue is the set's: %+v", r.Name, r.Template)
			}
			if len(spec.Template.Spec.SchedulingGates) != 1 || spec.Template.Spec.Affinity != nil {
				t.Errorf("%s: it would start before its turn in the trial", r.Name)
			}
			if got := set.Name + "-" + r.Name + "-0"; r.Template.Labels[labelGroup] != got {
				t.Errorf("group %s; want the Job's name %s", r.Template.Labels[labelGroup], got)
			}
		}
		text, err := json.Marshal(set)
		if err != nil || strings.Contains(string(text), `"enableDNSHostnames":true`) {
			t.Errorf("got %s, %v", text, err)
		}
		if back := set.DeepCopyObject().(*jobSet); back.Name != set.Name || &back.Spec.ReplicatedJobs[0] == &set.Spec.ReplicatedJobs[0] { //nolint:forcetypeassert // its own copy
			t.Error("no copy")
		}
	}
}

func trialOf(t *testing.T, queue string) *jobSet {
	t.Helper()
	s := &spot{at: &backends.Kubernetes{Owner: backends.Owner{Run: "r", Fleet: "f"}, Node: "n"}, pod: Pod{Image: "i", Queue: queue}, inSet: true}
	var sts []*starting
	for _, id := range []string{"cell/a1/ps", "cell/a1/worker"} {
		g := &backends.Group{ID: id, Machines: []backends.Machine{{Name: "m"}}, Args: [][]string{{"true"}}}
		sts = append(sts, &starting{g: g, spots: []*spot{s}, folders: []string{"x"}, name: s.jobName(id)})
	}
	return jobSetOf(sts)
}
