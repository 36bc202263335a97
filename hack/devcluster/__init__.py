"""A local Kubernetes for mopt's tests: full (one node) or light (control plane only)."""
