"""Files prepared in the cache: scanned, resampled, scaled."""
