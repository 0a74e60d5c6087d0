"""Talk to OpenAI and compatible servers."""
