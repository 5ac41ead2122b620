"""What everything else is made of: values, the clock, errors, files, messages."""
