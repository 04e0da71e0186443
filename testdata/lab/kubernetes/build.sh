#!/usr/bin/env bash
# Builds the daemons, all in one executable, and the container image. Needs Go and a static busybox.
# What was built from the same files by the same Go stays: linking alone takes half a minute.
set -euo pipefail
. "$(dirname "$0")/env.sh"
mkdir -p "$bin"
build() { # NAME FOLDER LDFLAGS PACKAGE
  local from
  from=$( (go version && go env GOFLAGS GOOS GOARCH && echo "$3 $4" && cd "$lab/$2" && find . -type f -print0 | sort -z | xargs -0 sha256sum) | sha256sum)
  [ -x "$bin/$1" ] && [ "$(cat "$bin/$1.from" 2>/dev/null)" = "$from" ] && return
  # Beside the old one, which may be running, and then in its place.
  (cd "$lab/$2" && CGO_ENABLED=0 nice -n 10 go build -trimpath -buildvcs=false -ldflags "$3" -o "$bin/$1.new" "$4")
  mv "$bin/$1.new" "$bin/$1"
  echo "$from" >"$bin/$1.from"
}
release=$(cd "$lab/kube" && go list -m -f '{{.Version}}' k8s.io/kubernetes)
IFS=. read -r major minor _ <<<"${release#v}"
# What the servers say that they are; without these it is v0.0.0-master.
flags="-s -w"
for p in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  flags+=" -X $p.gitVersion=$release -X $p.gitMajor=$major -X $p.gitMinor=$minor -X $p.gitTreeState=clean"
done
build kube kube "$flags" .
for d in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kwok coredns; do ln -sfn kube "$bin/$d"; done
[ -z "$LAB_JOBSET" ] || build jobset jobset "-s -w" sigs.k8s.io/jobset
[ -z "$LAB_QUEUE" ] || build kueue kueue "-s -w" sigs.k8s.io/kueue/cmd/kueue
"$bin/kube" image -tag "$LAB_IMAGE" -busybox "$LAB_BUSYBOX" -o "$bin/image.tar"
