"""The engines that answer: the catalogue, Llama (base and LoRA), and OpenAI-compatible servers."""
