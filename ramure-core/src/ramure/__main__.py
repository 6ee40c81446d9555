"""``python -m ramure`` is the ``ramure`` command."""

from ramure.cli.app import main

if __name__ == "__main__":
    main()
