"""One open connection that carries typed messages."""
