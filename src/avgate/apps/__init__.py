"""What a verb does when it is more than one call."""
