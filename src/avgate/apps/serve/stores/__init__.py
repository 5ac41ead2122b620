"""Where jobs are kept: in a file of this machine, or in a database of several machines."""
