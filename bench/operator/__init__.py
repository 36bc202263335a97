"""The operator at scale: real API server, etcd, controllers and scheduler; nodes played by kwok."""
