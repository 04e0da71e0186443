#!/usr/bin/env bash
# Builds the daemons, all in one executable, and the container image. Needs Go and a static busybox.
set -euo pipefail
. "$(dirname "$0")/env.sh"
mkdir -p "$bin"
cd "$lab/kube"
release=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
IFS=. read -r major minor _ <<<"${release#v}"
# What the servers say that they are; without these it is v0.0.0-master.
flags="-s -w"
for p in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  flags+=" -X $p.gitVersion=$release -X $p.gitMajor=$major -X $p.gitMinor=$minor -X $p.gitTreeState=clean"
done
# Beside the old one, which may be running, and then in its place.
CGO_ENABLED=0 nice -n 10 go build -trimpath -buildvcs=false -ldflags "$flags" -o "$bin/kube.new" .
mv "$bin/kube.new" "$bin/kube"
for d in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kwok coredns; do ln -sfn kube "$bin/$d"; done
if [ -n "$LAB_JOBSET" ]; then
  (cd "$lab/jobset" && CGO_ENABLED=0 nice -n 10 go build -trimpath -buildvcs=false -ldflags "-s -w" -o "$bin/jobset.new" sigs.k8s.io/jobset)
  mv "$bin/jobset.new" "$bin/jobset"
fi
if [ -n "$LAB_QUEUE" ]; then
  (cd "$lab/kueue" && CGO_ENABLED=0 nice -n 10 go build -trimpath -ldflags "-s -w" -o "$bin/kueue.new" sigs.k8s.io/kueue/cmd/kueue)
  mv "$bin/kueue.new" "$bin/kueue"
fi
"$bin/kube" image -tag "$LAB_IMAGE" -busybox "$LAB_BUSYBOX" -o "$bin/image.tar"
