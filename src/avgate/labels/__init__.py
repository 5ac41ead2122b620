"""Labels over time: label files, raters' agreement, merging and delay."""
