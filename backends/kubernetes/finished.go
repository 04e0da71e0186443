package kubernetes

import (
	"context"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// A Job is of no more use when the ends of all its processes have been read: whatever a process
// left is on the scratch volume, and Start makes the Job of one that has ended again, whose pod then
// does nothing. Thousands of them would make every list of the cluster long, and a release too.

// A finishing is a Job that this launcher has started, or the JobSet of several.
type finishing struct {
	kind   kind
	name   string
	uid    string
	jobs   []string // its own name, or those of the JobSet's Jobs
	unread map[member]bool
}

// A member is a process by its Job.
type member struct {
	job   string
	index int
}

// maxFinished is how many Jobs may wait to be removed; the release removes what is more.
const maxFinished = 4096

// expect notes that a Job, or a JobSet, was made for the processes of these groups.
func (c *cluster) expect(r kind, name, uid string, groups ...*starting) {
	f := &finishing{kind: r, name: name, uid: uid, unread: map[member]bool{}}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, st := range groups {
		for i := range st.spots {
			f.unread[member{st.name, i}] = true
		}
		f.jobs = append(f.jobs, st.name)
		c.running[st.name] = f
	}
}

// finish notes that the end of a process was read.
func (c *cluster) finish(job string, index int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.running[job]
	if f == nil {
		return
	}
	if delete(f.unread, member{job, index}); len(f.unread) > 0 {
		return
	}
	for _, name := range f.jobs {
		delete(c.running, name)
	}
	select {
	case c.finished <- f:
	default:
	}
}

// removeFinished removes Jobs until ctx ends, one after the other: there is no hurry.
func (c *cluster) removeFinished(ctx context.Context) {
	for {
		select {
		case f := <-c.finished:
			if err := c.removeOne(ctx, f); err != nil && ctx.Err() == nil {
				c.log("%s %s stays until the release: %v", f.kind.words(), f.name, err)
			}
		case <-ctx.Done():
			return
		}
	}
}

func (c *cluster) removeOne(ctx context.Context, f *finishing) error {
	leave, err := c.jobs.Enter(ctx, f.name)
	if err != nil {
		return err
	}
	defer leave()
	c.mu.Lock()
	again := slices.ContainsFunc(f.jobs, func(name string) bool { return c.running[name] != nil })
	c.mu.Unlock()
	if again {
		return nil
	}
	err = c.remove(ctx, f.kind, c.ns, f.name, deletion(metav1.DeletePropagationBackground, types.UID(f.uid)))
	if notFound(err) {
		return nil
	}
	return c.fail(ctx, "remove", err)
}
