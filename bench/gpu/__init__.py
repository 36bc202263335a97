"""What a borrowed NVIDIA GPU measures in one command (docs/gpu.md): `bash bench/gpu/run.sh OUT`."""
