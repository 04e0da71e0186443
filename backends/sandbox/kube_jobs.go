package sandbox

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// jobBackoff is how long the Job controller waits before it replaces the first pod that failed;
// it doubles up to jobBackoffMax. Both are kube-controller-manager's.
const jobBackoff, jobBackoffMax = 10 * time.Second, 10 * time.Minute

// createRetry is how soon a pod that was refused is tried again.
const createRetry = 2 * time.Second

// retry says how often in a row pods of a job failed, and when the next may be made.
type retry struct {
	failures int
	after    time.Time
}

// passJobs does what the Job controller does.
func (k *kube) passJobs(next *agenda) {
	byOwner := map[string][]*corev1.Pod{}
	for _, p := range all[*corev1.Pod](k.st, pods, "") {
		owner := metav1.GetControllerOf(p)
		if owner == nil || owner.Kind != "Job" {
			owner = &metav1.OwnerReference{}
		}
		if r := k.st.byUID[owner.UID]; r == nil && slices.Contains(p.Finalizers, trackingKey) {
			k.untrack(p) // its job is gone
			continue
		}
		byOwner[string(owner.UID)] = append(byOwner[string(owner.UID)], p)
	}
	for _, j := range all[*batchv1.Job](k.st, jobs, "") {
		k.job(j, byOwner[string(j.UID)], next)
	}
}

// untrack lets a pod go that has been counted.
func (k *kube) untrack(p *corev1.Pod) {
	if slices.Contains(p.Finalizers, trackingKey) {
		k.settle(pods, edit(k.st, pods, p, func(p *corev1.Pod) {
			p.Finalizers = slices.DeleteFunc(p.Finalizers, func(f string) bool { return f == trackingKey })
		}))
	}
}

// tally is what a job's pods come to.
type tally struct {
	active      []*corev1.Pod
	terminating int
	ready       int
	verdict     *batchv1.JobCondition // of a rule of the pod failure policy
}

// job takes one job a step further. The caller holds k.mu.
func (k *kube) job(j *batchv1.Job, mine []*corev1.Pod, next *agenda) {
	st := j.Status.DeepCopy()
	t := k.count(j, st, mine)
	suspended := ptr.Deref(j.Spec.Suspend, false)
	if st.StartTime == nil && !suspended {
		st.StartTime = ptr.To(metav1.NewTime(next.now.Truncate(time.Second)))
	}
	if !finished(j) && j.DeletionTimestamp == nil {
		end := k.verdict(j, st, t, next)
		switch {
		case end != nil:
			if end.Type == batchv1.JobFailureTarget || end.Type == batchv1.JobSuccessCriteriaMet {
				setJobCondition(st, end.Type, end.Reason, end.Message)
			}
			for _, p := range t.active {
				k.stopPod(p)
			}
			if len(t.active) > 0 {
				k.event(jobs, j, "job-controller", corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: "+t.active[0].Name)
			}
			st.Active, t.active, t.ready = 0, nil, 0
			if t.terminating = k.terminating(j); t.terminating == 0 {
				k.conclude(j, st, end, next.now)
			}
		case suspended:
			for _, p := range t.active {
				k.stopPod(p)
			}
			if !hasJobCondition(st, batchv1.JobSuspended) {
				setJobCondition(st, batchv1.JobSuspended, "JobSuspended", "Job suspended")
				k.event(jobs, j, "job-controller", corev1.EventTypeNormal, "Suspended", "Job suspended")
			}
			t.active, t.ready, st.StartTime = nil, 0, nil
			t.terminating = k.terminating(j)
		default:
			k.resume(j, st, next.now)
			t.active = append(t.active, k.makePods(j, st, t, next)...)
		}
	}
	st.Active, st.Terminating, st.Ready = int32(len(t.active)), ptr.To(int32(t.terminating)), ptr.To(int32(t.ready)) //nolint:gosec // few
	if st.UncountedTerminatedPods == nil {
		st.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
	}
	if now, _ := k.st.get(jobs, j.Namespace, j.Name).(*batchv1.Job); now != nil && now.UID == j.UID {
		j = edit(k.st, jobs, now, func(o *batchv1.Job) { o.Status = *st })
	}
	k.expire(j, next)
}

// resume takes the condition of a suspension back.
func (k *kube) resume(j *batchv1.Job, st *batchv1.JobStatus, now time.Time) {
	for i := range st.Conditions {
		c := &st.Conditions[i]
		if c.Type == batchv1.JobSuspended && c.Status == corev1.ConditionTrue {
			c.Status, c.Reason, c.Message, c.LastTransitionTime = corev1.ConditionFalse, "JobResumed", "Job resumed", metav1.NewTime(now)
			k.event(jobs, j, "job-controller", corev1.EventTypeNormal, "Resumed", "Job resumed")
		}
	}
}

// expire deletes a job whose time after its end is over.
func (k *kube) expire(j *batchv1.Job, next *agenda) {
	if j.Spec.TTLSecondsAfterFinished == nil || !finished(j) || j.DeletionTimestamp != nil {
		return
	}
	for _, c := range j.Status.Conditions {
		if c.Type != batchv1.JobComplete && c.Type != batchv1.JobFailed || c.Status != corev1.ConditionTrue {
			continue
		}
		due := c.LastTransitionTime.Add(time.Duration(*j.Spec.TTLSecondsAfterFinished) * time.Second)
		if due.After(next.now) {
			next.at(due)
		} else {
			k.delete(jobs, j, &metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationForeground)})
		}
	}
}

func (k *kube) terminating(j *batchv1.Job) int {
	n := 0
	for _, p := range all[*corev1.Pod](k.st, pods, j.Namespace) {
		if o := metav1.GetControllerOf(p); o != nil && o.UID == j.UID && p.DeletionTimestamp != nil && !ended(p) {
			n++
		}
	}
	return n
}

// stopPod deletes a pod that its job no longer wants.
func (k *kube) stopPod(p *corev1.Pod) {
	if now, _ := k.st.get(pods, p.Namespace, p.Name).(*corev1.Pod); now != nil && now.UID == p.UID && now.DeletionTimestamp == nil {
		k.delete(pods, now, &metav1.DeleteOptions{})
		if now.Spec.NodeName == "" {
			if now, _ = k.st.get(pods, p.Namespace, p.Name).(*corev1.Pod); now != nil {
				k.untrack(now)
			}
		}
	}
}

// makePods makes those that are missing. The caller holds k.mu.
func (k *kube) makePods(j *batchv1.Job, st *batchv1.JobStatus, t *tally, next *agenda) []*corev1.Pod {
	if r := k.retries[j.UID]; r.after.After(next.now) {
		next.at(r.after)
		return nil
	}
	want := int(ptr.Deref(j.Spec.Parallelism, 1)) - len(t.active)
	if ptr.Deref(j.Spec.PodReplacementPolicy, batchv1.TerminatingOrFailed) == batchv1.Failed {
		want -= t.terminating
	}
	if j.Spec.Completions != nil {
		want = min(want, int(*j.Spec.Completions-st.Succeeded)-len(t.active))
	} else if st.Succeeded > 0 {
		want = 0
	}
	var made []*corev1.Pod
	free := k.freeIndexes(j, st, t)
	for i := 0; i < want; i++ {
		index := -1
		if indexed(j) {
			if i >= len(free) {
				break
			}
			index = free[i]
		}
		p := podOf(j, index)
		if err := k.create(pods, p, false); err != nil {
			k.event(jobs, j, "job-controller", corev1.EventTypeWarning, "FailedCreate", "Error creating: "+err.Error())
			k.retries[j.UID] = retry{failures: k.retries[j.UID].failures, after: next.now.Add(createRetry)}
			next.at(next.now.Add(createRetry))
			break
		}
		k.event(jobs, j, "job-controller", corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: "+p.Name)
		made = append(made, p)
	}
	return made
}

// freeIndexes lists those that neither run nor are done, lowest first.
func (k *kube) freeIndexes(j *batchv1.Job, st *batchv1.JobStatus, t *tally) []int {
	taken := parseIndexes(st.CompletedIndexes)
	maps.Copy(taken, parseIndexes(ptr.Deref(st.FailedIndexes, "")))
	for _, p := range t.active {
		taken[indexOf(p)] = true
	}
	if ptr.Deref(j.Spec.PodReplacementPolicy, batchv1.TerminatingOrFailed) == batchv1.Failed {
		for _, p := range all[*corev1.Pod](k.st, pods, j.Namespace) {
			if o := metav1.GetControllerOf(p); o != nil && o.UID == j.UID && !ended(p) {
				taken[indexOf(p)] = true
			}
		}
	}
	var free []int
	for i := range int(ptr.Deref(j.Spec.Completions, 0)) {
		if !taken[i] {
			free = append(free, i)
		}
	}
	return free
}

func indexOf(p *corev1.Pod) int {
	n, err := strconv.Atoi(p.Annotations[indexKey])
	if err != nil {
		return -1
	}
	return n
}

// podOf makes a pod out of a job's template.
func podOf(j *batchv1.Job, index int) *corev1.Pod {
	t := j.Spec.Template.DeepCopy()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: j.Namespace, GenerateName: j.Name + "-", Labels: t.Labels, Annotations: t.Annotations,
		Finalizers: append(t.Finalizers, trackingKey), OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(j, batchv1.SchemeGroupVersion.WithKind("Job"))}}, Spec: t.Spec}
	if index < 0 {
		return p
	}
	n := strconv.Itoa(index)
	if p.Annotations == nil {
		p.Annotations = map[string]string{}
	}
	if p.Labels == nil {
		p.Labels = map[string]string{}
	}
	p.Annotations[indexKey], p.Labels[indexKey] = n, n
	p.GenerateName = fmt.Sprintf("%s-%d-", j.Name, index)
	p.Spec.Hostname = fmt.Sprintf("%s-%d", j.Name, index)
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			if !slices.ContainsFunc(list[i].Env, func(e corev1.EnvVar) bool { return e.Name == "JOB_COMPLETION_INDEX" }) {
				list[i].Env = append(list[i].Env, corev1.EnvVar{Name: "JOB_COMPLETION_INDEX",
					ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.labels['" + indexKey + "']"}}})
			}
		}
	}
	return p
}
