"""What formats and recipes cost: bits, operations, area, energy, time."""
