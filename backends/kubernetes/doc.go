// Package kubernetes puts trials into pods (client-go, with a scheme of its own).
//
// A machine is a place on a node. Preparing it makes a holder: a pod that asks for nothing, is
// put on a node by the scheduler as the fleet's [backends.Hosts] demands, and stays there until
// the release. It shows early that nodes, image and volume are what the testbed says, it pins
// later pods to its node, and it serves the files: holder and trial pods of a machine share a
// scratch volume, in which staged files and the folders of processes lie. What a process left is
// therefore read from the holder, also when its own pod is long gone.
//
// A role is an indexed Job with a headless Service; process i is the pod of index i, and its
// address is known before it starts. Where the machines of a role are on different nodes, the pods
// are made with a scheduling gate, and each gets the node of its process before the gate is taken
// away: a Job's template is the same for all of its pods. The end of one process is not that of
// the others, and none is started a second time (backoffLimitPerIndex 0, Kubernetes 1.29).
//
// Process 1 of a trial's container is the supervisor that package ssh uses as well. The arguments
// of all processes stand in the Job, so that it shows what runs; secrets do not belong there. It
// ends with 0 however the program ended: that is in its record, on the scratch volume.
//
// GPUs are counted as a resource of the node, or claimed as devices of a class: then each process has a
// claim of its own, made by the cluster from a template of the fleet (resource.k8s.io/v1, Kubernetes
// 1.34), and rbac/devices.yaml is needed as well.
//
// Where the cluster has JobSet and the login may use it (rbac/jobset.yaml), or the testbed says so, the
// Jobs of a trial are made together, as one JobSet, with gates that the starts of the roles take away. What
// was chosen for a machine holds for its life. A TrainJob of Kubeflow is no such frame: it takes arguments,
// addresses and order of start from its runtime, and these are what a study lays down.
//
// Where machines have a queue, Jobs are made suspended and wait until Kueue admits them; then their
// pods come, with the gate, and are let go when the trial starts. A JobSet is admitted as a whole. Without
// it the roles of a trial are admitted one by one, all before the first starts, and two trials that have
// a part of the queue each may wait for each other.
//
// What a program may use is what the study says. A pod whose CPU limit is another, such as the default of
// a limit range, is refused before anything is measured in it: it would be slower than its node.
//
// Pods and warnings are watched, by two watches a namespace. All objects of a fleet belong to one
// ConfigMap: deleting that removes them. It and the Service are made by server-side apply, as field
// manager "dlx", which brings them up to date when a run goes on. A Job goes when the ends of all
// its processes have been read, so that a cluster holds those of trials that run, not of thousands.
// Up to 64 requests are under way at once and no rate is kept: a server that is busy says so.
//
// The [Launcher] does all of this for any cluster it gets a kubeconfig for; the provider of this
// package is for clusters that stand already, and makes nothing but the objects above. A login
// with the rules of rbac/namespace.yaml in one namespace is enough, and one with those of
// rbac/cluster.yaml makes a namespace for each run and learns what its nodes are.
package kubernetes

// Config is the settings of a cloud of kind "kubernetes" in a testbed.
type Config struct {
	Kubeconfig string `json:"kubeconfig"` // path; empty: KUBECONFIG, ~/.kube/config, or the cluster dlx runs in
	Context    string `json:"context"`    // empty: the current one
	Namespace  string `json:"namespace"`  // empty: one that is made for the run, "dlx-<run>", and removed with its last fleet
}

// A Pod says what pods a machine has: the machine's spec in a testbed, and the Pod of
// [backends.Kubernetes].
type Pod struct {
	Image          string            `json:"image"`      // holds a POSIX shell and the usual small tools
	PullPolicy     string            `json:"pullPolicy"` // "", "Always", "IfNotPresent" or "Never"
	PullSecret     string            `json:"pullSecret"`
	NodeSelector   map[string]string `json:"nodeSelector"`
	Tolerations    []Toleration      `json:"tolerations"`
	ServiceAccount string            `json:"serviceAccount"`
	RuntimeClass   string            `json:"runtimeClass"`
	HostNetwork    bool              `json:"hostNetwork"`
	GPU            string            `json:"gpu"`         // the resource that GPUs of a role count; empty: nvidia.com/gpu, or none with DeviceClass
	Queue          string            `json:"queue"`       // a LocalQueue of Kueue in the namespace: it admits the Jobs; empty: none
	JobSet         *bool             `json:"jobSet"`      // the Jobs of a trial are one JobSet; nil: where the cluster has JobSet and the login may use it
	DeviceClass    string            `json:"deviceClass"` // GPUs of a role are devices claimed from it (dynamic resource allocation); not with GPU
	User           int64             `json:"user"`        // pods run as this user and group, and meet the level "restricted" of Pod Security; 0: as the image says
	Scratch        Scratch           `json:"scratch"`
	Mounts         []Mount           `json:"mounts"`
}

// A Mount is what pods find at a path and may read only, such as a data set that lies on every
// node. Exactly one of HostPath, which must exist, and Claim is set.
type Mount struct {
	Path     string `json:"path"` // in the pod
	HostPath string `json:"hostPath"`
	Claim    string `json:"claim"`
}

// A Toleration is one of a pod's; its fields are Kubernetes' own.
type Toleration struct {
	Key      string `json:"key"`
	Operator string `json:"operator"`
	Value    string `json:"value"`
	Effect   string `json:"effect"`
}

// Scratch is the volume that holder and trial pods of a machine share. At most one field is set;
// none: the host path /var/tmp/dlx.
type Scratch struct {
	HostPath string `json:"hostPath"` // a folder of the node, made if it is not there
	Claim    string `json:"claim"`    // a PersistentVolumeClaim that all pods of the node may mount
}
