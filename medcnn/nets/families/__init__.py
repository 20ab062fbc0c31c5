"""The families of nets, one a file."""
