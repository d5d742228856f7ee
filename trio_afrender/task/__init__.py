"""One run: service, command, supervision, parsing, files, outcome."""
