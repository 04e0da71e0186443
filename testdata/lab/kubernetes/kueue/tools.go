//go:build tools

// Package kueue pins what "go build sigs.k8s.io/kueue/cmd/kueue" needs.
package kueue

import _ "sigs.k8s.io/kueue/cmd/kueue"
