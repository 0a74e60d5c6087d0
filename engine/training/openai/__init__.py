"""Fine-tuning jobs at OpenAI and compatible servers."""
