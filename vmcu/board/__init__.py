"""A board on a serial line, real or emulated: its firmware, the protocol it speaks, and the probes that put it there."""
