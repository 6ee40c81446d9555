"""Commands on the local machine: plain, and through the relay."""

from compare import compare, contenders, options, verdict, warm_up

if __name__ == "__main__":
    given = options()
    warm_up(given, contenders("exec", 1))
    commands = 3 if given.quick else 100
    verdict(given, compare("commands", contenders("exec", commands), given.rounds))
