"""One module for each rival, run in the rival's own environment: nothing here imports this library."""
