# Settings of the lab, for its scripts. In a shell that sources it, dlx and the tests find the cluster.
lab=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${LAB_HOME:=${XDG_CACHE_HOME:-$HOME/.cache}/dlx/lab/kubernetes}"
: "${LAB_NAME:=dlxkube}"             # of the network namespace, the control group and the bridge
: "${LAB_NODES=node1 node2 node3}"    # a parameter server and two workers on hosts of their own; empty: only simulated nodes, which take no root
: "${LAB_SIMULATED:=3}"              # so many nodes are simulated
: "${LAB_QUEUE:=}"                   # a LocalQueue of Kueue by this name, in the namespace default; empty: no Kueue
: "${LAB_JOBSET:=}"                  # not empty: JobSet's controller runs too
: "${LAB_STATIC:=}"                  # of these nodes, whose kubelet gives whole CPUs to one pod alone; it keeps CPU 0
: "${LAB_NET:=10.200}"               # the /16 of nodes and pods, inside the namespace only
: "${LAB_LINK:=198.18.77}"           # the /30 between this computer (.1) and the namespace (.2)
: "${LAB_LOOPBACK:=127.77.0.1}"      # where everything listens when there are only simulated nodes
: "${LAB_BUSYBOX:=/bin/busybox}"
: "${LAB_IMAGE:=lab.local/busybox:1}"
LAB_GPU=lab.local/gpu                # of which each node says that it has 2: nothing stands behind them
: "${LAB_CNI:=/usr/lib/cni}"         # where the plugins "bridge", "host-local" and "loopback" are
bin=$LAB_HOME/bin
run=$LAB_HOME/run
disk=$run/disk # of the simulated nodes
at=$LAB_LINK.2 # the API server
[ -n "$LAB_NODES" ] || at=$LAB_LOOPBACK
export KUBECONFIG=$LAB_HOME/kubeconfig
export DLX_TEST_LAB=$lab DLX_TEST_KUBECONFIG=$KUBECONFIG DLX_TEST_NAMESPACE=lab DLX_TEST_POD="{\"image\": \"$LAB_IMAGE\"}"
# What pods on simulated nodes say of themselves.
export DLX_TEST_SIMULATED_POD="{\"image\": \"none\", \"gpu\": \"$LAB_GPU\", \"nodeSelector\": {\"lab.local/simulated\": \"true\"}, \"tolerations\": [{\"key\": \"lab.local/simulated\", \"operator\": \"Exists\"}], \"scratch\": {\"hostPath\": \"$disk\"}}"
[ "$LAB_SIMULATED" != 0 ] || unset DLX_TEST_SIMULATED_POD
[ -z "$LAB_QUEUE" ] || export DLX_TEST_QUEUE=$LAB_QUEUE
[ -z "$LAB_JOBSET" ] || export DLX_TEST_JOBSET=$LAB_JOBSET
# A proxy has no way to the lab.
[ -z "${HTTPS_PROXY:-}${https_proxy:-}" ] || export NO_PROXY="${NO_PROXY:+$NO_PROXY,}$at"
