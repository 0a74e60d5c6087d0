"""Offer the engines of the chat, and fine-tuning, by OpenAI's calls: `balcao serve --api`."""
