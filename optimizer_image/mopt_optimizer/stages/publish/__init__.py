"""The publish stage: what to serve, to an OCI registry."""
