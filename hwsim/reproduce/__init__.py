"""Published tables stood beside: each paper's methods on the networks at hand, from circuits."""
