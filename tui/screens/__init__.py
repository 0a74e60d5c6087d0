"""Full-screen views of the chat."""
