"""What is measured, each in a process of its own: our step and its peers."""
