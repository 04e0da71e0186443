package sandbox

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// count adds what has ended to the status, once a pod, and says what is left. The caller holds k.mu.
func (k *kube) count(j *batchv1.Job, st *batchv1.JobStatus, mine []*corev1.Pod) *tally {
	t := &tally{}
	done, failed := parseIndexes(st.CompletedIndexes), parseIndexes(ptr.Deref(st.FailedIndexes, ""))
	for _, p := range mine {
		tracked := slices.Contains(p.Finalizers, trackingKey)
		switch {
		case !ended(p) && p.DeletionTimestamp != nil && p.Spec.NodeName == "":
			k.untrack(p) // it never ran
		case !ended(p) && p.DeletionTimestamp != nil:
			t.terminating++
		case !ended(p):
			t.active = append(t.active, p)
			if podReady(p) {
				t.ready++
			}
		case !tracked: // counted before
		case p.Status.Phase == corev1.PodSucceeded:
			if !indexed(j) || !done[indexOf(p)] {
				st.Succeeded++
			}
			done[indexOf(p)] = true
			delete(k.retries, j.UID)
			k.untrack(p)
		default:
			k.countFailure(j, st, t, p, failed)
			k.untrack(p)
		}
	}
	if indexed(j) {
		delete(done, -1)
		st.CompletedIndexes = formatIndexes(done)
		if j.Spec.BackoffLimitPerIndex != nil {
			st.FailedIndexes = ptr.To(formatIndexes(failed))
		}
	}
	return t
}

func (k *kube) countFailure(j *batchv1.Job, st *batchv1.JobStatus, t *tally, p *corev1.Pod, failed map[int]bool) {
	action, why := failurePolicy(j, p)
	switch action {
	case batchv1.PodFailurePolicyActionIgnore:
		return
	case batchv1.PodFailurePolicyActionFailJob:
		t.verdict = &batchv1.JobCondition{Type: batchv1.JobFailureTarget, Reason: batchv1.JobReasonPodFailurePolicy, Message: why}
	case batchv1.PodFailurePolicyActionFailIndex:
		failed[indexOf(p)] = true
	case batchv1.PodFailurePolicyActionCount:
	}
	st.Failed++
	if j.Spec.BackoffLimitPerIndex != nil && *j.Spec.BackoffLimitPerIndex == 0 { // more than none are not told apart
		failed[indexOf(p)] = true
	}
	r := k.retries[j.UID]
	wait := min(jobBackoff<<min(r.failures, 10), jobBackoffMax)
	k.retries[j.UID] = retry{failures: r.failures + 1, after: time.Now().Add(wait)}
}

// failurePolicy finds the first rule that fits a failed pod.
func failurePolicy(j *batchv1.Job, p *corev1.Pod) (batchv1.PodFailurePolicyAction, string) {
	if j.Spec.PodFailurePolicy == nil {
		return batchv1.PodFailurePolicyActionCount, ""
	}
	for i, r := range j.Spec.PodFailurePolicy.Rules {
		if r.OnExitCodes != nil {
			for _, c := range p.Status.ContainerStatuses {
				x := c.State.Terminated
				if x == nil || x.ExitCode == 0 || r.OnExitCodes.ContainerName != nil && *r.OnExitCodes.ContainerName != c.Name {
					continue
				}
				if slices.Contains(r.OnExitCodes.Values, x.ExitCode) == (r.OnExitCodes.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn) {
					return r.Action, fmt.Sprintf("Container %s for pod %s/%s failed with exit code %d matching %s rule at index %d", c.Name, p.Namespace, p.Name, x.ExitCode, r.Action, i)
				}
			}
		}
		for _, pattern := range r.OnPodConditions {
			for _, c := range p.Status.Conditions {
				if c.Type == pattern.Type && c.Status == pattern.Status {
					return r.Action, fmt.Sprintf("Pod %s/%s has condition %s matching %s rule at index %d", p.Namespace, p.Name, c.Type, r.Action, i)
				}
			}
		}
	}
	return batchv1.PodFailurePolicyActionCount, ""
}

// verdict says how a job ends, if it does: as the condition that comes before the last one.
func (k *kube) verdict(j *batchv1.Job, st *batchv1.JobStatus, t *tally, next *agenda) *batchv1.JobCondition {
	fail := func(reason, message string) *batchv1.JobCondition {
		return &batchv1.JobCondition{Type: batchv1.JobFailureTarget, Reason: reason, Message: message}
	}
	for i := range st.Conditions {
		if c := &st.Conditions[i]; c.Status == corev1.ConditionTrue && (c.Type == batchv1.JobFailureTarget || c.Type == batchv1.JobSuccessCriteriaMet) {
			return c
		}
	}
	if t.verdict != nil {
		return t.verdict
	}
	if d := j.Spec.ActiveDeadlineSeconds; d != nil && st.StartTime != nil && !ptr.Deref(j.Spec.Suspend, false) {
		due := st.StartTime.Add(time.Duration(*d) * time.Second)
		if !next.now.Before(due) {
			return fail(batchv1.JobReasonDeadlineExceeded, "Job was active longer than specified deadline")
		}
		next.at(due)
	}
	if st.Failed > ptr.Deref(j.Spec.BackoffLimit, 6) {
		return fail(batchv1.JobReasonBackoffLimitExceeded, "Job has reached the specified backoff limit")
	}
	done := parseIndexes(st.CompletedIndexes)
	if c := successRule(j, done); c != nil {
		return c
	}
	bad := len(parseIndexes(ptr.Deref(st.FailedIndexes, "")))
	switch n := j.Spec.Completions; {
	case n == nil && st.Succeeded > 0 && len(t.active) == 0:
		return &batchv1.JobCondition{Type: batchv1.JobSuccessCriteriaMet, Reason: batchv1.JobReasonCompletionsReached, Message: "Reached expected number of succeeded pods"}
	case n != nil && j.Spec.MaxFailedIndexes != nil && bad > int(*j.Spec.MaxFailedIndexes):
		return fail(batchv1.JobReasonMaxFailedIndexesExceeded, "Job has exceeded the specified maximal number of failed indexes")
	case n != nil && bad > 0 && len(done)+bad >= int(*n):
		return fail(batchv1.JobReasonFailedIndexes, "Job has failed indexes")
	case n != nil && st.Succeeded >= *n && bad == 0:
		return &batchv1.JobCondition{Type: batchv1.JobSuccessCriteriaMet, Reason: batchv1.JobReasonCompletionsReached, Message: "Reached expected number of succeeded pods"}
	}
	return nil
}

func successRule(j *batchv1.Job, done map[int]bool) *batchv1.JobCondition {
	if j.Spec.SuccessPolicy == nil {
		return nil
	}
	for i, r := range j.Spec.SuccessPolicy.Rules {
		need := done
		if r.SucceededIndexes != nil {
			need = map[int]bool{}
			for n := range parseIndexes(*r.SucceededIndexes) {
				need[n] = done[n]
			}
		}
		n := 0
		for _, ok := range need {
			if ok {
				n++
			}
		}
		if r.SucceededCount != nil && n >= int(*r.SucceededCount) || r.SucceededCount == nil && r.SucceededIndexes != nil && n == len(need) {
			return &batchv1.JobCondition{Type: batchv1.JobSuccessCriteriaMet, Reason: batchv1.JobReasonSuccessPolicy, Message: fmt.Sprintf("Matched rules at index %d", i)}
		}
	}
	return nil
}

// conclude writes the last condition.
func (k *kube) conclude(j *batchv1.Job, st *batchv1.JobStatus, end *batchv1.JobCondition, now time.Time) {
	delete(k.retries, j.UID)
	if end.Type == batchv1.JobSuccessCriteriaMet {
		setJobCondition(st, batchv1.JobComplete, end.Reason, end.Message)
		st.CompletionTime = ptr.To(metav1.NewTime(now.Truncate(time.Second)))
		k.event(jobs, j, "job-controller", corev1.EventTypeNormal, "Completed", "Job completed")
		return
	}
	setJobCondition(st, batchv1.JobFailed, end.Reason, end.Message)
	k.event(jobs, j, "job-controller", corev1.EventTypeWarning, end.Reason, end.Message)
}

func setJobCondition(st *batchv1.JobStatus, t batchv1.JobConditionType, reason, message string) {
	if hasJobCondition(st, t) {
		return
	}
	now := metav1.NewTime(time.Now().Truncate(time.Second))
	st.Conditions = slices.DeleteFunc(st.Conditions, func(c batchv1.JobCondition) bool { return c.Type == t })
	st.Conditions = append(st.Conditions, batchv1.JobCondition{Type: t, Status: corev1.ConditionTrue, LastProbeTime: now, LastTransitionTime: now, Reason: reason, Message: message})
}

func hasJobCondition(st *batchv1.JobStatus, t batchv1.JobConditionType) bool {
	return slices.ContainsFunc(st.Conditions, func(c batchv1.JobCondition) bool { return c.Type == t && c.Status == corev1.ConditionTrue })
}

func jobCondition(j *batchv1.Job, t batchv1.JobConditionType) bool {
	return hasJobCondition(&j.Status, t)
}

func podReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue })
}

// maxIndexes is how many completions an indexed Job has at most.
const maxIndexes = 100000

// parseIndexes reads "0-2,5".
func parseIndexes(s string) map[int]bool {
	out := map[int]bool{}
	for part := range strings.SplitSeq(s, ",") {
		a, b, isRange := strings.Cut(part, "-")
		first, err := strconv.Atoi(a)
		if err != nil {
			continue
		}
		last := first
		if isRange {
			last, _ = strconv.Atoi(b)
		}
		for i := first; i <= min(last, maxIndexes); i++ {
			out[i] = true
		}
	}
	return out
}

// formatIndexes writes what parseIndexes reads: pairs of neighbours are not joined, as Kubernetes does.
func formatIndexes(m map[int]bool) string {
	all := slices.Sorted(maps.Keys(m))
	var out []string
	for i := 0; i < len(all); {
		n := i
		for n+1 < len(all) && all[n+1] == all[n]+1 {
			n++
		}
		switch n - i {
		case 0:
			out = append(out, strconv.Itoa(all[i]))
		case 1:
			out = append(out, strconv.Itoa(all[i]), strconv.Itoa(all[n]))
		default:
			out = append(out, fmt.Sprintf("%d-%d", all[i], all[n]))
		}
		i = n + 1
	}
	return strings.Join(out, ",")
}
