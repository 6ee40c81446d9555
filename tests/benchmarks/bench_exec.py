"""Commands on the local machine: plain, and through the relay."""

from compare import compare, contenders, options

if __name__ == "__main__":
    given = options()
    commands = 3 if given.quick else 100
    compare("commands", contenders("exec", commands), given.rounds)
