"""Facts about the host and its load: identity, CPU, memory, GPUs, disks, single processes."""
