"""Users with stored histories, and their states as a bounded cache over them."""
