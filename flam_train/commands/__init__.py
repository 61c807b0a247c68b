"""The command line's side of each command: it parses, calls one function of the same name and defaults, and prints."""
