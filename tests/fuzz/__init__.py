"""The hostile input suite: rounds that make bad input, give it to the real parts, and judge what came of it."""
