"""What rounding does to every tensor while a model trains."""
