package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// podsFolder holds, in a machine's home, one folder for each pod:
//
//	hosts                      what /etc/hosts is inside, kept up to date in place
//	volumes/NAME/              emptyDir, configMap and secret volumes
//	containers/NAME/N/         the N-th start of a container:
//	    run                    the script that becomes it
//	    super                  the line of /proc/PID/stat of the supervisor
//	    log                    what it printed
//	    exit                   its exit status, once it is over
//	    root/                  what its file system is put together on; empty but in its own mount namespace
const podsFolder = "pods"

// pod is what the kubelet of a node does for one pod. Its goroutine (run) starts the containers,
// waits for them and reports; k.mu guards what it reports from.
type pod struct {
	k       *kube
	spec    *corev1.Pod // as it was bound
	host    host
	dir     string
	ip      string
	gpus    []int
	hosts   string // content of the file
	init    []*container
	main    []*container
	started time.Time
	final   corev1.PodPhase // once it is known
	done    bool            // nothing runs any more
	purging bool

	stop   chan struct{} // closed when the pod is to end
	dead   chan struct{} // closed when it is to end at once
	stopIt sync.Once
	killIt sync.Once
	grace  time.Duration // written before stop is closed
}

// passKubelets starts what is bound, ends what is deleted, and clears away what is gone.
func (k *kube) passKubelets() {
	for _, o := range all[*corev1.Pod](k.st, pods, "") {
		h := k.host(o.Spec.NodeName)
		if h == nil || h.Lost {
			continue
		}
		p := k.pods[o.UID]
		if p == nil {
			p = k.newPod(o, h)
			k.pods[o.UID] = p
			if ended(o) {
				p.done = true
			} else {
				k.work.Go(p.run)
			}
		}
		if o.DeletionTimestamp != nil {
			p.end(time.Duration(ptr.Deref(o.DeletionGracePeriodSeconds, 0)) * time.Second)
		}
	}
	for uid, p := range k.pods {
		if k.st.byUID[uid] != nil {
			continue
		}
		p.kill()
		if p.done && !p.purging {
			p.purging = true
			k.work.Go(func() {
				p.purge()
				k.mu.Lock()
				delete(k.pods, uid)
				k.mu.Unlock()
			})
		}
	}
}

func (k *kube) newPod(o *corev1.Pod, h *host) *pod {
	p := &pod{k: k, spec: o, host: *h, dir: filepath.Join(k.s.home(h.Server), podsFolder, string(o.UID)), ip: o.Status.PodIP,
		stop: make(chan struct{}), dead: make(chan struct{})}
	for i := range o.Spec.InitContainers {
		p.init = append(p.init, p.newContainer(&o.Spec.InitContainers[i], true))
	}
	for i := range o.Spec.Containers {
		p.main = append(p.main, p.newContainer(&o.Spec.Containers[i], false))
	}
	return p
}

// end asks the pod to end within a time. A second call may only make it sooner.
func (p *pod) end(grace time.Duration) {
	p.stopIt.Do(func() {
		p.grace = grace
		close(p.stop)
	})
	if grace == 0 {
		p.kill()
	}
}

// kill ends it without delay.
func (p *pod) kill() {
	p.stopIt.Do(func() { close(p.stop) })
	p.killIt.Do(func() { close(p.dead) })
}

// purge ends all processes of the pod and removes its folder.
func (p *pod) purge() {
	killMarked(podMark + "=" + p.dir + "/")
	if err := os.RemoveAll(p.dir); err != nil {
		if err = os.RemoveAll(p.dir); err != nil { // what was killed may just have made a file
			p.k.s.cfg.Log("sandbox: %s: %v", p.dir, err)
		}
	}
}

// run is the life of a pod.
func (p *pod) run() {
	ok := p.setUp()
	for _, c := range p.init {
		ok = ok && c.run(p.spec.Spec.RestartPolicy) && c.exitCode() == 0
	}
	if ok {
		var wg sync.WaitGroup
		for _, c := range p.main {
			wg.Go(func() { c.run(p.spec.Spec.RestartPolicy) })
		}
		wg.Wait()
	}
	if p.closing() {
		return // the program ends, the pod goes on
	}
	p.k.mu.Lock()
	defer p.k.mu.Unlock()
	p.done, p.final = true, corev1.PodSucceeded
	for _, c := range p.main {
		if !c.ran || c.code != 0 {
			p.final = corev1.PodFailed
		}
	}
	p.sync()
	o := p.object()
	if o != nil && o.DeletionTimestamp != nil {
		o = edit(p.k.st, pods, o, func(o *corev1.Pod) { o.DeletionGracePeriodSeconds = ptr.To[int64](0) })
		p.k.settle(pods, o)
	}
	p.k.nudge()
}

func (p *pod) closing() bool {
	select {
	case <-p.k.done:
		return true
	default:
		return false
	}
}

// wait pauses; false means that the pod is to end first.
func (p *pod) wait(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.stop:
	case <-p.k.done:
	}
	return false
}

// pause waits, for no longer than a container runs and the pod may live.
func (p *pod) pause(d time.Duration, done <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-done:
	case <-p.dead:
	case <-p.k.done:
	}
}

// mountRetry is how soon the kubelet looks again for what a volume is made of.
const mountRetry = time.Second

// setUp gives the pod its address, hosts file and volumes. It waits for what is missing.
func (p *pod) setUp() bool {
	err := os.MkdirAll(p.dir, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(p.dir, "nsswitch.conf"), nsswitch(), 0o644) //nolint:gosec // everybody reads it
	}
	p.k.mu.Lock()
	if p.ip == "" {
		p.ip = p.k.freeIP(p)
	}
	p.started = time.Now()
	if o := p.object(); o != nil && o.Status.StartTime != nil {
		p.started = o.Status.StartTime.Time
	}
	p.takeGPUs()
	p.hosts = p.k.hostsFor(p)
	file := filepath.Join(p.dir, "hosts")
	if e := overwrite(file, p.hosts); os.IsNotExist(e) && err == nil {
		err = os.WriteFile(file, []byte(p.hosts), 0o644) //nolint:gosec // as above
	}
	p.sync()
	p.k.mu.Unlock()
	if err != nil {
		p.k.s.cfg.Log("sandbox: pod %s: %v", p.spec.Name, err)
		return false
	}
	for {
		err := p.makeVolumes()
		if err == nil {
			return true
		}
		p.event(corev1.EventTypeWarning, "FailedMount", err.Error())
		if !p.wait(mountRetry) {
			return false
		}
	}
}

// object is the pod as the API has it now, or nil. The caller holds k.mu.
func (p *pod) object() *corev1.Pod {
	o, _ := p.k.st.get(pods, p.spec.Namespace, p.spec.Name).(*corev1.Pod)
	if o == nil || o.UID != p.spec.UID {
		return nil
	}
	return o
}

func (p *pod) event(typ, reason, message string) {
	p.k.mu.Lock()
	defer p.k.mu.Unlock()
	if o := p.object(); o != nil && !p.k.closed {
		p.k.event(pods, o, "kubelet", typ, reason, message)
	}
}

// sync writes the status as it is known here. The caller holds k.mu.
func (p *pod) sync() {
	o := p.object()
	if o == nil || p.k.closed || ended(o) && p.final == "" {
		return
	}
	edit(p.k.st, pods, o, func(o *corev1.Pod) {
		st := &o.Status
		st.PodIP, st.HostIP = p.ip, p.host.Address
		st.PodIPs, st.HostIPs = []corev1.PodIP{{IP: p.ip}}, []corev1.HostIP{{IP: p.host.Address}}
		if st.StartTime == nil {
			st.StartTime = ptr.To(metav1.NewTime(p.started.Truncate(time.Second)))
		}
		initialized, ready, running := true, p.final == "", true
		st.InitContainerStatuses, st.ContainerStatuses = nil, nil
		for _, c := range p.init {
			st.InitContainerStatuses = append(st.InitContainerStatuses, *c.status.DeepCopy())
			initialized = initialized && c.status.State.Terminated != nil && c.status.State.Terminated.ExitCode == 0
		}
		for _, c := range p.main {
			st.ContainerStatuses = append(st.ContainerStatuses, *c.status.DeepCopy())
			ready = ready && c.status.Ready
			running = running && c.ran
		}
		for _, c := range []struct {
			t  corev1.PodConditionType
			ok bool
		}{{corev1.PodReadyToStartContainers, true}, {corev1.PodInitialized, initialized}, {corev1.PodReady, ready}, {corev1.ContainersReady, ready}} {
			s, reason, message := corev1.ConditionTrue, "", ""
			if !c.ok {
				s, reason, message = corev1.ConditionFalse, "ContainersNotReady", "containers with unready status: ["+strings.Join(p.unready(), " ")+"]"
				if p.final == corev1.PodSucceeded {
					reason, message = "PodCompleted", ""
				}
			}
			setPodCondition(o, c.t, s, reason, message)
		}
		switch {
		case p.final != "":
			st.Phase = p.final
		case running:
			st.Phase = corev1.PodRunning
		}
	})
}

func (p *pod) unready() []string {
	var out []string
	for _, c := range p.main {
		if !c.status.Ready {
			out = append(out, c.spec.Name)
		}
	}
	return out
}

// takeGPUs gives the pod as many as it asks for, of those that no other pod of the node has. They
// are mere numbers. The caller holds k.mu.
func (p *pod) takeGPUs() {
	want := requests(p.spec)
	q := want[gpuResource]
	taken := map[int]bool{}
	for _, o := range p.k.pods {
		if o != p && o.host.Name == p.host.Name && !o.done {
			for _, g := range o.gpus {
				taken[g] = true
			}
		}
	}
	for i := 0; int64(len(p.gpus)) < q.Value() && i < p.host.GPUs; i++ {
		if !taken[i] {
			p.gpus = append(p.gpus, i)
		}
	}
}

// freeIP finds an address for a pod: one of the machine's for hostNetwork, else one of
// 127.80.0.0 to 127.239.255.255 that no other pod has. It is drawn, so that pods of other
// sandboxes on this computer have others. The caller holds k.mu.
func (k *kube) freeIP(p *pod) string {
	if p.spec.Spec.HostNetwork {
		return p.host.Address
	}
	for {
		b := randomBytes(3)
		ip := fmt.Sprintf("127.%d.%d.%d", 80+int(b[0])%160, b[1], 1+int(b[2])%254)
		if !slices.ContainsFunc(all[*corev1.Pod](k.st, pods, ""), func(o *corev1.Pod) bool { return o.Status.PodIP == ip }) {
			return ip
		}
	}
}
