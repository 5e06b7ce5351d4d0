"""The step, the loop around it, evaluation, devices, and the runner that joins everything."""
