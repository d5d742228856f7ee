"""Plugin host processes: services and parsers run there; the agent's side starts, calls and replaces them."""
