"""Events that go to a log, and are read again."""

from compare import compare, contenders, options, verdict, warm_up

if __name__ == "__main__":
    given = options()
    warm_up(given, contenders("events", 100))
    events = 100 if given.quick else 20_000
    verdict(given, compare("events", contenders("events", events), given.rounds))
