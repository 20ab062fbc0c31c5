"""The settings of each command: plain typed objects, made of a config once it is composed."""
