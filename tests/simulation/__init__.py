"""Many workers in virtual time, with every fault there is, and the promises checked throughout."""
