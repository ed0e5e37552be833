"""`rm360 export` and the verification of exports: performances side by side, each in a process of its own."""
