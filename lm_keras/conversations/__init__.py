"""Conversations: their messages, and the templates that make tokens of them.

Nothing here needs TensorFlow.
"""
