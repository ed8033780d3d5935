"""What containers say of themselves, read without a decoder."""
