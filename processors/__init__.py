"""What is done to a record, pure: no I/O, no clock, no log, no counter. What a step needs is an argument."""
