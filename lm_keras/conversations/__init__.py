"""Conversations: messages of roles, and the template that makes tokens of them."""
