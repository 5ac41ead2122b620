"""What people and programs read: the report, the figure, data files."""
