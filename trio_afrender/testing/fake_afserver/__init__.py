"""A fake Afanasy server in memory, with the binary protocol and the JSON interface."""
