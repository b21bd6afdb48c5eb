"""What an evaluation leaves behind: values, their file and its schema."""
