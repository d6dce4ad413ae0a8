"""What is trained: data with models for them; see `loading.task`."""
