"""Base functions: values, transfer functions, ties."""
