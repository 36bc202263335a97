"""What this machine is and has: CPU, memory, GPUs, compilers, versions."""
