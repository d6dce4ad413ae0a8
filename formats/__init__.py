"""What the values of a format are: rows of data and the exact definition."""
