"""Services, parsers and meters: found by name, run in processes of their own."""
