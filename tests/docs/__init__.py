"""What the documentation and the example show, run as it is written."""
