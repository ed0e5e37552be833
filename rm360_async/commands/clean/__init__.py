"""`rm360 clean`: what is not needed any more, and its removal."""
