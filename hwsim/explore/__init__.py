"""Design-space exploration: space, search, evaluation and the store it resumes from."""
