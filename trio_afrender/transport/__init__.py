"""The websocket link between a render and a server, both ends: typed messages over one connection."""
