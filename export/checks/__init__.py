"""Is what was exported equal to the model, and what does a lower precision cost?"""
