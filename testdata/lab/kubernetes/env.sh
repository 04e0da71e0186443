# Settings of the lab, for its scripts. In a shell that sources it, dlx and the tests find the cluster.
lab=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${LAB_HOME:=${XDG_CACHE_HOME:-$HOME/.cache}/dlx/lab/kubernetes}"
: "${LAB_NAME:=dlxkube}"             # of the network namespace, the control group and the bridge
: "${LAB_NODES:=node1 node2 node3}"   # a parameter server and two workers on hosts of their own
: "${LAB_NET:=10.200}"               # the /16 of nodes and pods, inside the namespace only
: "${LAB_LINK:=198.18.77}"           # the /30 between this computer (.1) and the namespace (.2)
: "${LAB_BUSYBOX:=/bin/busybox}"
: "${LAB_IMAGE:=lab.local/busybox:1}"
LAB_GPU=lab.local/gpu               # of which each node says that it has 2: nothing stands behind them
: "${LAB_CNI:=/usr/lib/cni}"         # where the plugins "bridge", "host-local" and "loopback" are
bin=$LAB_HOME/bin
run=$LAB_HOME/run
export KUBECONFIG=$LAB_HOME/kubeconfig
export DLX_TEST_LAB=$lab DLX_TEST_KUBECONFIG=$KUBECONFIG DLX_TEST_NAMESPACE=lab DLX_TEST_POD="{\"image\": \"$LAB_IMAGE\"}"
# A proxy has no way to the lab.
[ -z "${HTTPS_PROXY:-}${https_proxy:-}" ] || export NO_PROXY="${NO_PROXY:+$NO_PROXY,}$LAB_LINK.2"
