"""A training that configures itself: facts, rules, a plan, and its carrying out in time."""
