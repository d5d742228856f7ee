"""One process tree: spawn, watch, signal, empty, reap. The only place that knows the platform."""
