"""What can be wrong, found by checks that each carry a cause and a remedy."""
