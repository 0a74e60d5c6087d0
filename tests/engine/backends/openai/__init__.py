"""The OpenAI engine against a scripted server on this machine."""
