"""Files and folders that are read and written safely: what others wrote is checked, and nothing is ever half
written.
"""
