"""Files as they lie prepared in the cache: scanned, resampled, scaled."""
