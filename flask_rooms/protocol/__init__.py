"""The protocol between workers: no input or output, no threads, no clock."""
