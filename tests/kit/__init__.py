"""What goes wrong in a test of failures: planned from outside, never by the product."""
