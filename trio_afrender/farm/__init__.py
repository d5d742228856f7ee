"""The embedded farm: the server's side, for one machine and for tests."""
