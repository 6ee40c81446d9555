#!/usr/bin/python3
"""What Modal puts into sandboxes for the SDK's filesystem calls, as far as they are used here."""

import json
import os
import shutil
import sys

KINDS = {
    FileNotFoundError: "NotFound",
    IsADirectoryError: "IsDirectory",
    NotADirectoryError: "NotDirectory",
    FileExistsError: "AlreadyExists",
    PermissionError: "PermissionDenied",
}


def main():
    ((operation, arguments),) = json.loads(sys.argv[1]).items()
    path = arguments["path"]
    try:
        if operation == "ReadFile":
            with open(path, "rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer, 1 << 20)
        elif operation == "WriteFile":
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file, 1 << 20)
        else:
            sys.exit(2)
    except OSError as error:
        kind = KINDS.get(type(error), "Other")
        print(json.dumps({"error_kind": kind, "message": str(error.strerror)}), file=sys.stderr)
        sys.exit(1)


main()
