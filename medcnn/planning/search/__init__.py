"""A search of hyperparameters: many trials, by any number of workers, and the best of them."""
