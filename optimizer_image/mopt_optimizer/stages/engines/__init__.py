"""The measure stage of a BuildOnly target: engines for GPUs that are elsewhere."""
