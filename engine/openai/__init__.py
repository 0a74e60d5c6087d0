"""What is known of OpenAI-compatible servers, shared by the engine and the fine-tuning job."""
