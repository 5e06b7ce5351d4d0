"""One page on one or several runs, from what their folders hold; without TensorFlow."""
