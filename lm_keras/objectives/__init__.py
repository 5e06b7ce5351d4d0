"""What is minimized, and what is reported of it."""
