//go:build tools

// Package jobset pins what "go build sigs.k8s.io/jobset" needs. It imports daemons of ../kube as well, so
// that both modules have the same versions and share what is compiled.
package jobset

import (
	_ "go.etcd.io/etcd/server/v3/etcdmain"
	_ "k8s.io/kubernetes/cmd/kube-apiserver/app"
	_ "sigs.k8s.io/jobset/pkg/controllers"
	_ "sigs.k8s.io/jobset/pkg/util/cert"
	_ "sigs.k8s.io/jobset/pkg/webhooks"
	_ "sigs.k8s.io/kwok/pkg/config"
)
