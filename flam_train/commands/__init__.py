"""One thin shell for each command: parses, calls one function, prints."""
