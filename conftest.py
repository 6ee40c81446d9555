"""What all tests of all packages share."""


def pytest_sessionfinish() -> None:
    """Remove the folder of sockets with short paths, as runs do: some tests do without a run."""
    from ramure.run import short_folder

    short_folder.leave()
