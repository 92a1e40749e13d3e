"""Many workers in virtual time, with every kind of fault; the promises are checked throughout."""
