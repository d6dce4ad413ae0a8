"""One file per published question: its claims, the rule that decides each verdict, and the run that checks them."""
