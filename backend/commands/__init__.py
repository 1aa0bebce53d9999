"""What an operator asks for once and waits for, each named as its command."""
