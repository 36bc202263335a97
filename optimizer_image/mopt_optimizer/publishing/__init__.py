"""What is pushed to an OCI registry: layers, manifests, and the registry itself."""
