"""What holds for all tests."""

import signal


def pytest_configure() -> None:
    """Hear SIGINT, which a shell lets its background jobs ignore, and they theirs."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
