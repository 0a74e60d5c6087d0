"""The chat's engines behind OpenAI's calls: `balcao serve --api`."""
