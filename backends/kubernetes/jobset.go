package kubernetes

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"dlx.dev/dlx/backends"
)

// A JobSet is the Jobs of a trial as one object, which a queue admits as a whole. Its controller makes
// the Jobs; all of dlx's other dealings are with these and their pods. Its pods wait for their node's
// name until their group starts, so that the trial, not the JobSet, says in which order that is. The
// names of processes come from the fleet's own Service. The end of a JobSet is of no interest: the ends
// of processes are read from their pods, and those that are to be stopped are stopped by dlx.

var jobSetGroup = schema.GroupVersion{Group: "jobset.x-k8s.io", Version: "v1alpha2"} // of JobSet 0.2 and later

// jobSet is that part of JobSet's API (sigs.k8s.io/jobset/api/jobset/v1alpha2) which dlx uses: requiring
// the module would bring a controller's framework with it.
type jobSet struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              jobSetSpec `json:"spec"`
}

type jobSetSpec struct {
	Suspend        *bool           `json:"suspend,omitempty"`
	Network        jobSetNetwork   `json:"network"`
	ReplicatedJobs []replicatedJob `json:"replicatedJobs"`
}

type jobSetNetwork struct {
	EnableDNSHostnames bool `json:"enableDNSHostnames"`
}

type replicatedJob struct {
	Name     string                  `json:"name"`
	Replicas int32                   `json:"replicas"`
	Template batchv1.JobTemplateSpec `json:"template"`
}

type jobSetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []jobSet `json:"items"`
}

// DeepCopyObject implements runtime.Object.
func (s *jobSet) DeepCopyObject() runtime.Object {
	out := *s
	s.DeepCopyInto(&out.ObjectMeta)
	if s.Spec.Suspend != nil {
		out.Spec.Suspend = ptr.To(*s.Spec.Suspend)
	}
	out.Spec.ReplicatedJobs = slices.Clone(s.Spec.ReplicatedJobs)
	for i := range out.Spec.ReplicatedJobs {
		s.Spec.ReplicatedJobs[i].Template.DeepCopyInto(&out.Spec.ReplicatedJobs[i].Template)
	}
	return &out
}

// DeepCopyObject implements runtime.Object.
func (l *jobSetList) DeepCopyObject() runtime.Object {
	out := *l
	l.DeepCopyInto(&out.ListMeta)
	out.Items = nil
	for i := range l.Items {
		out.Items = append(out.Items, *l.Items[i].DeepCopyObject().(*jobSet)) //nolint:forcetypeassert // it is its own copy
	}
	return &out
}

// A setUse is what a namespace has of JobSet.
type setUse struct {
	served bool
	lacks  []string // verbs that the login may not
}

func (u setUse) allowed() bool { return u.served && len(u.lacks) == 0 }

// useOfSets asks the cluster, once, whether it has JobSet and what the login may do with it.
func (c *cluster) useOfSets(ctx context.Context) (setUse, error) {
	c.mu.Lock()
	known := c.sets
	c.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	use, err := c.client.useOfSets(ctx, c.ns)
	if err != nil {
		return use, c.fail(ctx, "look for JobSet", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sets = &use
	return use, nil
}

func (c *client) useOfSets(ctx context.Context, ns string) (use setUse, err error) {
	var list metav1.APIResourceList
	err = c.read(ctx, "/apis/"+jobSetGroup.String(), &list)
	if notFound(err) || forbidden(err) {
		return use, nil
	}
	if err != nil {
		return use, err
	}
	use.served = slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == jobSets.name })
	for _, verb := range rightsToJobSets.verbs {
		if !use.served {
			break
		}
		may, err := c.may(ctx, rightsToJobSets, verb, ns)
		if err != nil {
			return use, err
		}
		if !may {
			use.lacks = append(use.lacks, verb)
		}
	}
	return use, nil
}

// missing says why Jobs cannot be JobSets.
func (u setUse) missing(ns string) string {
	switch {
	case u.allowed():
		return ""
	case !u.served:
		return "the cluster does not serve " + jobSetGroup.String() + ": install JobSet, or leave jobSet out"
	}
	return fmt.Sprintf("the login may not %s jobsets in namespace %q: grant it these verbs (rbac/jobset.yaml), or leave jobSet out", strings.Join(u.lacks, ", "), ns)
}

// chooseSets decides for the machines of a fleet that are made now whether their Jobs are JobSets'. What
// was decided stands in the annotations of their holders, and holds for their life.
func (c *cluster) chooseSets(ctx context.Context, f *fleet) error {
	for _, s := range f.spots {
		if s.pod.JobSet != nil && !*s.pod.JobSet {
			s.inSet = false
			continue
		}
		use, err := c.useOfSets(ctx)
		if err != nil {
			return err
		}
		if s.inSet = use.allowed(); !s.inSet && s.pod.JobSet != nil {
			return backends.Errorf(backends.Config, "machine "+s.machine.Name, "jobSet: %s", use.missing(c.ns))
		}
	}
	return nil
}

// jobSetOf is that of a trial's groups.
func jobSetOf(sts []*starting) *jobSet {
	first := sts[0]
	s := first.spots[0]
	trial, _ := roleOf(first.g.ID)
	head := meta(s.at.Owner, s.setName(first.g.ID), time.Time{})
	head.Labels[labelRole] = "trial"
	head.Annotations[labelGroup] = trial
	out := &jobSet{ObjectMeta: head}
	if s.pod.Queue != "" {
		head.Labels[labelQueue], out.Spec.Suspend = s.pod.Queue, ptr.To(true)
	}
	for _, st := range sts {
		j := job(st.g, st.spots, st.folders)
		delete(j.Labels, labelQueue)
		j.Spec.Suspend = nil
		out.Spec.ReplicatedJobs = append(out.Spec.ReplicatedJobs, replicatedJob{Name: setRole(st.g.ID), Replicas: 1,
			Template: batchv1.JobTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: j.Labels, Annotations: j.Annotations}, Spec: j.Spec}})
	}
	return out
}

// ofJobSet reports whether a JobSet has made a Job.
func ofJobSet(j *batchv1.Job) bool {
	o := metav1.GetControllerOf(j)
	return o != nil && o.Kind == "JobSet"
}

// ensureSet makes the JobSet of a trial's groups unless it is there.
func ensureSet(ctx context.Context, sts []*starting) error {
	first := sts[0]
	c, o := first.c, first.spots[0].at.Owner
	want := jobSetOf(sts)
	leave, err := c.jobs.Enter(ctx, want.Name)
	if err != nil {
		return fmt.Errorf("%s: %w", first.op, err)
	}
	defer leave()
	ctx = quiet(ctx, c.log)
	op := "create jobset " + want.Name
	owner, err := c.ownerOf(ctx, first.op, o)
	if err != nil {
		return err
	}
	for _, st := range sts {
		if err := st.ensureClaims(ctx, owner); err != nil {
			return err
		}
	}
	want.ObjectMeta = owned(want.ObjectMeta, owner)
	var got jobSet
	switch err := c.createOrGet(ctx, jobSets, c.ns, want, &got); {
	case err != nil:
		return c.fail(ctx, op, err)
	case got.Annotations[labelGroup] != want.Annotations[labelGroup] || !sameLabels(&got, want, labelManager, labelRun, labelFleet):
		return backends.Errorf(backends.Config, op, "there is one that is not this trial's")
	case got.DeletionTimestamp != nil:
		return backends.Errorf(backends.Infra, op, "it is being removed")
	}
	c.expect(jobSets, want.Name, string(got.UID), sts...)
	for _, st := range sts {
		st.setUID = string(got.UID)
	}
	return nil
}

// awaitMember looks for the Job that a JobSet makes for a group, until it is there.
func (st *starting) awaitMember(ctx context.Context, seen *troubles) (bool, time.Duration, error) {
	c := st.c
	var j batchv1.Job
	err := c.get(quiet(ctx, c.log), jobs, c.ns, st.name, &j)
	switch {
	case err == nil && ofJobSet(&j):
		st.uid = string(j.UID)
		return true, 0, nil
	case err == nil:
		return false, 0, backends.Errorf(backends.Config, st.op, "there is a job %s that is not its JobSet's", st.name)
	case !notFound(err):
		err = c.fail(ctx, st.op, err)
		if backends.ClassOf(err).Temporary() {
			return false, time.Second, nil
		}
		return false, 0, err
	}
	t := &trouble{class: backends.Infra, words: "its JobSet has no job " + st.name + ": does JobSet's controller run?", after: c.opt.Patience}
	for _, e := range c.warningsOf(st.setUID) {
		t.words = "its JobSet has no job " + st.name + ": " + e.Reason + ": " + clip(e.Message)
	}
	return false, time.Second, seen.bear("set ", st.op, t)
}
