"""Training: LoRA on a machine of ones own, and jobs at OpenAI and its like."""
