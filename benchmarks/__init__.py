"""Speed, memory and latency, each as a ratio beside its reference: `make bench`."""
