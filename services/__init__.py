"""Services: each module has a class of its own name, derived from `service`."""
