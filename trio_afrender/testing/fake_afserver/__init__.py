"""An Afanasy server in memory, speaking the binary protocol and the JSON interface."""
