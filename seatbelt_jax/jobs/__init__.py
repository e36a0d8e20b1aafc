"""What a command does to a run: train, attack, certify, evaluate. Each job has its options and one function."""
