"""One module per array library; `dispatch` picks."""
