//go:build tools

// Package tools pins the commands that devcluster builds.
package tools

import _ "sigs.k8s.io/kwok/cmd/kwok"
