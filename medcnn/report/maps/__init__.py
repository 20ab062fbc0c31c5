"""Pages and pictures of class activation maps."""
