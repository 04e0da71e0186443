package kubernetes

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// A Job is of no more use when the ends of all its processes have been read: whatever a process
// left is on the scratch volume, and Start makes the Job of one that has ended again, whose pod then
// does nothing. Thousands of them would make every list of the cluster long, and a release too.

// A finishing is a Job that this launcher has started.
type finishing struct {
	name   string
	uid    string
	unread map[int]bool // processes
}

// maxFinished is how many Jobs may wait to be removed; the release removes what is more.
const maxFinished = 4096

// expect notes that a Job was started.
func (c *cluster) expect(name, uid string, processes int) {
	f := &finishing{name: name, uid: uid, unread: map[int]bool{}}
	for i := range processes {
		f.unread[i] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running[name] = f
}

// finish notes that the end of a process was read.
func (c *cluster) finish(name string, index int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.running[name]
	if f == nil {
		return
	}
	if delete(f.unread, index); len(f.unread) > 0 {
		return
	}
	delete(c.running, name)
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
				c.log("job %s stays until the release: %v", f.name, err)
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
	again := c.running[f.name] != nil
	c.mu.Unlock()
	if again {
		return nil
	}
	err = c.remove(ctx, jobs, c.ns, f.name, deletion(metav1.DeletePropagationBackground, types.UID(f.uid)))
	if notFound(err) {
		return nil
	}
	return c.fail(ctx, "remove", err)
}
