"""What reads foreign bytes, each as a function of bytes, for a fuzzer and for the suite."""
