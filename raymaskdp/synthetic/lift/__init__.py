"""What landmarks get wrong, taught on people whose bodies are known."""
