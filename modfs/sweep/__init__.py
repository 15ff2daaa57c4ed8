"""Many boots: machines, kernels, processors and seeds, in parallel, with results in a file."""
