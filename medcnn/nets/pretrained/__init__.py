"""Published weights: names, files, and the way into our nets."""
