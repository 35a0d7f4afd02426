"""Decoding and reading prompts in tokens/s, beside what memory allows and beside Hugging Face. README.md says how."""
