"""Pictures of runs, formats and scales, sized for a paper: matplotlib figures without global state."""
